//! How much a size saves that changes with the time and is chosen with hindsight: a bound for forecasts that know when demand is
//! high, and not at which second claims come.

use bullpen_simulate::{Arrival, HOUR, Micros, SECOND};

/// Sizes that are tried are multiples of this.
const STEP: usize = 2;
/// Largest size that is tried.
const MOST: usize = 2_000;
/// Halvings of the price of a miss until its best sizes are found.
const HALVINGS: usize = 60;

/// What the best size of each span comes to.
pub struct Best {
    /// Percent of the claims that find no ready machine.
    pub misses: f64,
    /// Hours that machines are ready for nobody.
    pub idle_hours: f64,
}

/// The least idle time with so many percent of misses at most, if each span of the trace has the size that suits it best. A claim
/// takes a ready machine, and the one that replaces it is ready a lead time later. A span begins with its size at once, which
/// is more than any pool can do.
pub fn best(trace: &[Arrival], lead: Micros, span: Micros, percent: f64) -> Best {
    let spans = spans(trace, lead, span);
    let allowed = trace.len() as f64 * percent / 100.0;
    let (mut low, mut high) = (0.0, 1_000.0);
    for _ in 0..HALVINGS {
        let price = f64::midpoint(low, high);
        if total(&spans, price).0 > allowed {
            low = price;
        } else {
            high = price;
        }
    }
    let (misses, idle_hours) = total(&spans, high);
    Best { misses: 100.0 * misses / trace.len() as f64, idle_hours }
}

/// Misses and idle hours of one span at each size.
type Span = Vec<(f64, f64)>;

/// Misses and idle hours of all spans, of which each has the size that is cheapest at this price of a miss in hours.
fn total(spans: &[Span], price: f64) -> (f64, f64) {
    let cost = |(misses, idle): &(f64, f64)| idle + price * misses;
    let cheapest = spans.iter().filter_map(|span| span.iter().min_by(|one, other| cost(one).total_cmp(&cost(other))));
    cheapest.fold((0.0, 0.0), |(misses, idle), span| (misses + span.0, idle + span.1))
}

fn spans(trace: &[Arrival], lead: Micros, span: Micros) -> Vec<Span> {
    let mut at: Vec<Micros> = trace.iter().map(|arrival| arrival.at).collect();
    at.sort_unstable();
    let (Some(first), Some(last)) = (at.first().copied(), at.last().copied()) else { return Vec::new() };
    let place = |moment: Micros| usize::try_from((moment - first) / span).unwrap_or(0);
    let count = place(last) + 1;
    // How many machines were taken within a lead time, at each claim and at each second.
    let (mut at_claims, mut at_seconds) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    let mut oldest = 0;
    for (number, moment) in at.iter().enumerate() {
        while at[oldest] <= moment - lead {
            oldest += 1;
        }
        at_claims[place(*moment)].push(number + 1 - oldest);
    }
    let (mut oldest, mut next, mut second) = (0, 0, first);
    while second <= last {
        while next < at.len() && at[next] <= second {
            next += 1;
        }
        while oldest < next && at[oldest] <= second - lead {
            oldest += 1;
        }
        at_seconds[place(second)].push(next - oldest);
        second += SECOND;
    }
    at_claims.iter().zip(&at_seconds).map(|(claims, seconds)| sizes(claims, seconds)).collect()
}

fn sizes(claims: &[usize], seconds: &[usize]) -> Span {
    let of_size = |size: usize| {
        let misses = claims.iter().filter(|taken| **taken > size).count();
        let idle: usize = seconds.iter().map(|taken| size.saturating_sub(*taken)).sum();
        (misses as f64, idle as f64 * SECOND as f64 / HOUR as f64)
    };
    (0..=MOST).step_by(STEP).map(of_size).collect()
}
