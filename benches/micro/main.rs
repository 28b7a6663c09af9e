//! How long the steps of a request take, each by itself and all together, without sockets: `cargo bench
//! --profile guard --bench micro -- way/get` measures those whose names contain `way/get`.
//!
//! Times are those of one unit (a request, a key, ...), not of one round of them.

mod cases;

use std::time::{Duration, Instant};

use criterion::Criterion;

use cases::{Case, Round};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for case in cases::all() {
        let mut round = None;
        let name = format!("{} per {}", case.name, case.unit);
        criterion.bench_function(&name, |bencher| {
            let round = round.get_or_insert_with(|| case.prepare());
            bencher.iter_custom(|units| time(&case, round, units));
        });
    }
    criterion.final_summary();
}

/// How long `units` units take, from as many whole rounds as hold them.
fn time(case: &Case, round: &mut Round, units: u64) -> Duration {
    let rounds = units.div_ceil(case.units);
    let begin = Instant::now();
    (0..rounds).for_each(|_| round());
    let took = begin.elapsed();
    took.mul_f64(units as f64 / (rounds * case.units) as f64)
}
