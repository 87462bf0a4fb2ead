//! What is counted on the road: every handle is resolved once, so that an exchange pays atomic adds.

use std::time::Duration;

use crate::audit::Outcome;
use crate::inject::{Code, Part, Unsearched};
use crate::metrics::{Counter, Durations, Gauge, Registry};
use crate::secret::Surface;

/// The handles of this room. The default counts unseen, for tests.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    forwarded: Counter,
    /// By [`Code::ALL`].
    refused: Vec<Counter>,
    aborted: Vec<Counter>,
    /// By the first digit of the status, from 1.
    responses: Vec<Counter>,
    /// By [`Surface::ALL`].
    injections: Vec<Counter>,
    /// By [`Part::ALL`].
    redactions: Vec<Counter>,
    /// By [`Unsearched::ALL`].
    unredacted: Vec<Counter>,
    head: Durations,
    added: Durations,
    /// Tunnels that are open.
    pub(super) tunnels: Gauge,
    pub(super) resting: Gauge,
    tunnelled: Vec<Counter>,
}

/// What became of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tunnel {
    /// It is looked into.
    Intercepted,
    /// It is relayed untouched.
    PassedThrough,
    /// An exchange inside switched protocols (WebSocket); what follows is relayed.
    Switched,
}

/// The words for [`Tunnel`], in its order.
const TUNNELS: [&str; 3] = ["intercepted", "passed_through", "switched"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Measures {
    /// Registers what this room counts.
    pub fn new(registry: &Registry) -> Self {
        let refusals = Code::ALL.iter().map(|code| ("refused", code.as_str()));
        let aborts = Code::ALL.iter().map(|code| ("aborted", code.as_str()));
        let ends = std::iter::once(("forwarded", "none")).chain(refusals).chain(aborts);
        let ends = ends.map(|(outcome, code)| vec![("outcome", outcome), ("code", code)]);
        let help = "Exchanges, by how they ended and with which code";
        let mut counted = registry.counters("subrosa_exchanges", help, ends);
        let aborted = counted.split_off(1 + Code::ALL.len());
        let refused = counted.split_off(1);
        let one = |name: &'static str, words: &[&'static str]| words.iter().map(|word| vec![(name, *word)]).collect::<Vec<_>>();
        let surfaces = Surface::ALL.map(Surface::as_str);
        Self {
            forwarded: counted.remove(0),
            refused,
            aborted,
            responses: registry.counters(
                "subrosa_responses",
                "Responses to clients, by the class of their status, refusals included",
                one("class", &CLASSES),
            ),
            injections: registry.counters(
                "subrosa_injections",
                "Secrets that went out, by the surface they stood on",
                one("surface", &surfaces),
            ),
            redactions: registry.counters(
                "subrosa_redactions",
                "Values that stood in answers and gave way to their reference, by where",
                one("part", &Part::ALL.map(Part::as_str)),
            ),
            unredacted: registry.counters(
                "subrosa_answers_unsearched",
                "Answers that were to be looked through for values and whose content could not be, by reason",
                one("reason", &Unsearched::ALL.map(Unsearched::as_str)),
            ),
            head: registry.durations("subrosa_exchange", "From a request's head to the head of its response"),
            added: registry.durations(
                "subrosa_added",
                "What of that the proxy took itself, without waiting for the upstream; of forwarded requests without content",
            ),
            tunnels: registry.gauge("subrosa_tunnels", "Tunnels that are open"),
            resting: registry.gauge(
                "subrosa_connections_resting",
                "Connections and intercepted tunnels of HTTP/1.1 on which nothing was asked for a second",
            ),
            tunnelled: registry.counters("subrosa_tunnels_opened", "Tunnels that were opened, by kind", one("kind", &TUNNELS)),
        }
    }

    /// Counts one exchange that ended, and its response.
    pub(super) fn exchange(&self, outcome: Outcome, code: Option<Code>, status: http::StatusCode, took: Duration) {
        match (outcome, code) {
            (Outcome::Refused, Some(code)) => one_more(&self.refused, code as usize),
            (Outcome::Aborted, Some(code)) => one_more(&self.aborted, code as usize),
            _ => self.forwarded.add(1),
        }
        one_more(&self.responses, usize::from(status.as_u16() / 100).saturating_sub(1));
        self.head.record(took);
    }

    /// What the proxy took itself of a forwarded exchange.
    pub(super) fn added(&self, took: Duration) {
        self.added.record(took);
    }

    /// A secret went out on `surface`.
    pub(super) fn injection(&self, surface: Surface) {
        one_more(&self.injections, surface as usize);
    }

    /// So many values stood in a part of an answer.
    pub(super) fn redacted(&self, part: Part, count: u64) {
        if let Some(counter) = self.redactions.get(part as usize).filter(|_| count > 0) {
            counter.add(count);
        }
    }

    /// The content of an answer was not looked through.
    pub(super) fn unredacted(&self, reason: Unsearched) {
        one_more(&self.unredacted, reason as usize);
    }

    /// A tunnel was opened.
    pub(super) fn tunnel(&self, kind: Tunnel) {
        one_more(&self.tunnelled, kind as usize);
    }
}

fn one_more(counters: &[Counter], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_counted_under_its_own_name() {
        let registry = Registry::new();
        let measures = Measures::new(&registry);
        for code in Code::ALL {
            measures.exchange(Outcome::Refused, Some(code), code.status(), Duration::ZERO);
            measures.exchange(Outcome::Aborted, Some(code), code.status(), Duration::ZERO);
        }
        measures.exchange(Outcome::Forwarded, None, http::StatusCode::OK, Duration::ZERO);
        for surface in Surface::ALL {
            measures.injection(surface);
        }
        for part in Part::ALL {
            measures.redacted(part, 1);
        }
        for reason in Unsearched::ALL {
            measures.unredacted(reason);
        }
        for kind in [Tunnel::Intercepted, Tunnel::PassedThrough, Tunnel::Switched] {
            measures.tunnel(kind);
        }
        let text = registry.text();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("subrosa_") && line.contains('{')).collect();
        for part in [
            "subrosa_exchanges_total{",
            "subrosa_injections_total{",
            "subrosa_redactions_total{",
            "subrosa_answers_unsearched_total{",
            "subrosa_tunnels_opened_total{",
        ] {
            let rows: Vec<_> = rows.iter().filter(|row| row.starts_with(part)).collect();
            assert!(!rows.is_empty() && rows.iter().all(|row| row.ends_with("} 1")), "{rows:#?}");
        }
        assert!(text.contains("subrosa_exchanges_total{outcome=\"refused\",code=\"domain_restricted\"} 1"), "{text}");
        assert!(text.contains("subrosa_responses_total{class=\"2xx\"} 1"), "{text}");
    }
}
