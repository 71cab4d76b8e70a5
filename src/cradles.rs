//! [`Cradles`]: memory for launches, kept from one to the next.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::Unborn;

/// How many are kept while nothing is launched.
const KEPT: usize = 4;

/// What has been used for a launch and can be used for another.
#[derive(Debug, Default)]
pub(crate) struct Cradles(Mutex<Vec<Unborn>>);

impl Cradles {
    /// One for a launch.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn take(&self) -> io::Result<Arc<Unborn>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(unborn) => Ok(Arc::new(unborn)),
            None => Ok(Arc::new(Unborn::new()?)),
        }
    }

    /// Takes one back after its launch, if nobody else has a share of it any more.
    pub(crate) fn give_back(&self, unborn: Arc<Unborn>) {
        let Some(mut unborn) = Arc::into_inner(unborn) else {
            return;
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            unborn.renew();
            kept.push(unborn);
        }
    }
}
