//! Usage by day as a small chart: drawn on the server, coloured by the stylesheet, said in words too.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::activity::Day;

/// Days that are drawn.
const DAYS: i64 = 90;
const WIDTH: i64 = 360;
const HEIGHT: i64 = 64;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The last 90 days up to `now`, unix seconds; `days` counts from 1970-01-01.
pub(super) fn usage(days: &BTreeMap<i64, Day>, now: i64) -> Markup {
    let today = now.div_euclid(DAY_SECONDS);
    let shown: Vec<Day> = (today - DAYS + 1..=today).map(|day| days.get(&day).copied().unwrap_or_default()).collect();
    let sum = |of: fn(&Day) -> u32| shown.iter().map(|day| u64::from(of(day))).sum::<u64>();
    let (forwarded, refused) = (sum(|day| day.forwarded), sum(|day| day.refused));
    let most = shown.iter().map(|day| i64::from(day.forwarded) + i64::from(day.refused)).max().unwrap_or(0);
    let said = format!("Last 90 days: {forwarded} forwarded, {refused} refused");
    html! {
        figure.chart {
            @if most == 0 {
                p.muted.small { "No requests in the last 90 days." }
            } @else {
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(said) preserveAspectRatio="none" {
                    line.chart-ground x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                    @for (index, day) in shown.iter().enumerate() { (bar(i64::try_from(index).unwrap_or(0), *day, most)) }
                }
                figcaption.small.muted { (said) "." }
            }
        }
    }
}

fn bar(index: i64, day: Day, most: i64) -> Markup {
    let scaled = |count: u32| (i64::from(count) * (HEIGHT - 4) + most - 1) / most;
    let (forwarded, refused) = (scaled(day.forwarded), scaled(day.refused));
    let (x, width) = (index * WIDTH / DAYS, WIDTH / DAYS - 1);
    html! {
        @if forwarded > 0 { rect.chart-forwarded x=(x) y=(HEIGHT - forwarded) width=(width) height=(forwarded) {} }
        @if refused > 0 { rect.chart-refused x=(x) y=((HEIGHT - forwarded - refused).max(0)) width=(width) height=(refused) {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_drawn_to_scale_and_said_in_words() {
        let day = |forwarded, refused| Day { forwarded, refused };
        let days = BTreeMap::from([(1_000, day(10, 0)), (999, day(5, 5)), (900, day(99, 99))]);
        let drawn = usage(&days, 1_000 * DAY_SECONDS + 5).into_string();
        assert!(drawn.contains("Last 90 days: 15 forwarded, 5 refused"), "{drawn}");
        assert!(drawn.contains("<rect class=\"chart-forwarded\" x=\"356\" y=\"4\" width=\"3\" height=\"60\">"), "{drawn}");
        assert!(drawn.contains("<rect class=\"chart-refused\" x=\"352\" y=\"4\" width=\"3\" height=\"30\">"), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), 3);
        assert!(usage(&BTreeMap::new(), 0).into_string().contains("No requests"));
    }
}
