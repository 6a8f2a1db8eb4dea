//! Tables in Markdown.

use crate::plan::Plan;
use crate::rounds::Outcome;
use crate::sample::Sample;
use crate::scenarios::{Scenario, Unit};
use crate::target::Role;

/// Rows of scenarios, columns of servers, and how the subject compares.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    plan: &'a Plan,
    subject: Option<usize>,
    has_peers: bool,
    references: Vec<usize>,
    is_dirty: bool,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let roles = || plan.targets.iter().map(|target| target.role).enumerate();
        let subject = roles().find(|(_, role)| *role == Role::Subject).map(|(at, _)| at);
        Self {
            plan,
            subject,
            has_peers: subject.is_some() && roles().any(|(_, role)| role == Role::Peer),
            references: roles()
                .filter(|(_, role)| subject.is_some() && *role == Role::Reference)
                .map(|(at, _)| at)
                .collect(),
            is_dirty: false,
        }
    }

    pub(crate) fn head(&self) -> String {
        let mut cells = vec![String::new()];
        cells.extend(self.plan.targets.iter().map(|target| target.name.clone()));
        if self.has_peers {
            cells.push("÷ best peer".to_owned());
        }
        cells.extend(self.references.iter().map(|&at| format!("÷ {}", self.plan.targets[at].name)));
        head(&cells)
    }

    pub(crate) fn row(&mut self, scenario: &Scenario, outcomes: &[Outcome]) -> String {
        let mut cells = vec![scenario.title.clone()];
        for outcome in outcomes {
            self.is_dirty |= outcome.dirty > 0;
            let mark = if outcome.dirty > 0 { "\\*" } else { "" };
            cells.push(match (&outcome.median, &outcome.failure) {
                (_, Some(_)) => "failed".to_owned(),
                (Some(sample), None) => format!("{}{mark}", figure(scenario.unit, sample)),
                (None, None) => "–".to_owned(),
            });
        }
        let of = |at: usize| outcomes.get(at)?.median.as_ref().filter(|_| outcomes[at].failure.is_none());
        let subject = self.subject.and_then(of);
        if self.has_peers {
            let peers = self.plan.targets.iter().enumerate().filter(|(_, target)| target.role == Role::Peer);
            let best = peers.filter_map(|(at, _)| of(at)).max_by(|a, b| {
                let order = a.value.total_cmp(&b.value);
                if scenario.unit.is_less_better() { order.reverse() } else { order }
            });
            cells.push(ratio(subject, best));
        }
        cells.extend(self.references.iter().map(|&at| ratio(subject, of(at))));
        row(&cells)
    }

    /// What stands below the table.
    pub(crate) fn foot(&self) -> String {
        let mut foot = format!(
            "\nMedians of {} interleaved rounds of {} s.",
            self.plan.rounds,
            self.plan.length.as_secs_f64()
        );
        if self.is_dirty {
            foot.push_str(" \\* Other processes took more than a tenth of a core in some of its rounds.");
        }
        foot
    }

    /// The CPU time of the servers for each operation.
    pub(crate) fn cpu(&self, measured: &[(&Scenario, Vec<Outcome>)]) -> String {
        let mut cells = vec!["CPU time of the server, ns for each".to_owned()];
        cells.extend(self.plan.targets.iter().map(|target| target.name.clone()));
        let mut table = head(&cells);
        for (scenario, outcomes) in measured {
            let title = scenario.title.rsplit_once(',').map_or(&*scenario.title, |(title, _)| title);
            let mut cells = vec![title.to_owned()];
            cells.extend(outcomes.iter().map(|outcome| {
                let ns = outcome.median.as_ref().and_then(|sample| sample.server_ns);
                ns.map_or_else(|| "–".to_owned(), number)
            }));
            table.push('\n');
            table.push_str(&row(&cells));
        }
        table
    }
}

/// Rows of servers, columns of what there is to say.
pub(crate) fn of_servers(plan: &Plan, scenario: &Scenario, outcomes: &[Outcome]) -> String {
    let mut cells = vec![scenario.title.clone()];
    let first = outcomes.iter().find_map(|outcome| outcome.median.as_ref());
    cells.extend(first.iter().flat_map(|sample| &sample.more).map(|(name, _)| name.trim().to_owned()));
    let mut table = head(&cells);
    for (target, outcome) in plan.targets.iter().zip(outcomes) {
        let mut cells = vec![target.name.clone()];
        match &outcome.median {
            Some(sample) => cells.extend(sample.more.iter().map(|(_, figure)| number(*figure))),
            None => cells.push("failed".to_owned()),
        }
        table.push('\n');
        table.push_str(&row(&cells));
    }
    table
}

fn head(cells: &[String]) -> String {
    format!("{}\n|---|{}", row(cells), "---:|".repeat(cells.len().saturating_sub(1)))
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

fn figure(unit: Unit, sample: &Sample) -> String {
    match (unit, sample.p99_us) {
        (Unit::Latency, Some(p99_us)) => format!("{:.1} / {:.1}", sample.value, p99_us),
        _ => number(sample.value),
    }
}

fn ratio(subject: Option<&Sample>, other: Option<&Sample>) -> String {
    let (Some(subject), Some(other)) = (subject, other) else { return "–".to_owned() };
    let value = subject.value / other.value;
    match (subject.p99_us, other.p99_us) {
        (Some(own), Some(others)) => format!("{value:.2} / {:.2}", own / others),
        _ => format!("{value:.2}"),
    }
}

/// With as many digits as say something.
fn number(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "–".to_owned()
    } else if size >= 1e6 {
        format!("{:.2} M", number / 1e6)
    } else if size >= 1e4 {
        format!("{:.0} k", number / 1e3)
    } else if size >= 100.0 || number == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        for (given, expected) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (42.06, "42.1"),
            (617.4, "617"),
            (82_400.0, "82 k"),
            (5_678_900.0, "5.68 M"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(given), expected);
        }
    }

    #[test]
    fn a_latency_is_compared_in_both_percentiles() {
        let of = |value, p99_us| Sample { value, p99_us, ..Sample::default() };
        assert_eq!(ratio(Some(&of(2.0, None)), Some(&of(1.0, None))), "2.00");
        assert_eq!(ratio(Some(&of(10.0, Some(30.0))), Some(&of(20.0, Some(20.0)))), "0.50 / 1.50");
        assert_eq!(ratio(None, Some(&of(1.0, None))), "–");
    }
}
