//! How long each case of the road takes: `cases` has them.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    reason = "criterion's macros make undocumented items; a bench may panic"
)]

mod cases;

use criterion::{Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// As the binary has it: wiping belongs to the cost.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn road(bencher: &mut Criterion) {
    for mut case in cases::all() {
        bencher.bench_function(case.name, |bencher| bencher.iter(&mut case.work));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = road
}
criterion_main!(benches);
