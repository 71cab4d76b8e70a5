//! [`Command`]: what is launched natively, and what goes with it.
//!
//! `builder` is the public type; `environment`, `stdio` and `resource` its vocabulary; `orders` turns it into what the back
//! end is told, and refuses what cannot be; `launching` carries that out.

mod builder;
mod environment;
mod launching;
mod orders;
mod resource;
mod stdio;

pub use self::builder::Command;
pub use self::resource::Resource;
pub use self::stdio::Stdio;
