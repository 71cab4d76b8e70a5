//! What single calls cost: those that a host makes often, without a peer to compare with.

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use procession::{EventMask, Registry, Result};

fn calls(criterion: &mut Criterion) {
    if let Err(error) = measure(criterion) {
        panic!("{error}");
    }
}

fn measure(criterion: &mut Criterion) -> Result<()> {
    let registry = Registry::new()?;
    let process = registry.spawn(1, Command::new("sleep").arg("600"))?;

    let mut group = criterion.benchmark_group("calls");
    group.bench_function("try_wait of a living process", |b| {
        b.iter(|| black_box(process.try_wait()));
    });
    group.bench_function("processes() of one", |b| {
        b.iter(|| black_box(registry.processes()));
    });
    group.bench_function("subscribe and unsubscribe", |b| {
        b.iter(|| drop(registry.subscribe_to(EventMask::EXITED)));
    });
    group.bench_function("end of an empty session", |b| {
        b.iter(|| black_box(registry.end_session(2)));
    });
    group.finish();

    assert!(registry.end_session(1)?.is_clean());
    Ok(())
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = calls
}
criterion_main!(benches);
