//! Benchmarks of the injection core.

fn main() {}
