//! The text format of Prometheus, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::fmt::{Display, Write};

use super::counters::{BOUNDS_MS, Times};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The types of metrics that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Times, counted in classes.
    Histogram,
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// A text to be: families, each with its samples behind it.
#[derive(Default)]
pub struct Text {
    written: String,
    family: String,
}

impl Text {
    /// Begins a family of the gateway's own.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.foreign_family(&format!("uni_api_{name}"), kind, help);
    }

    /// Begins a family whose name is the same whatever the program is.
    pub fn foreign_family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        name.clone_into(&mut self.family);
        // Writing to a String cannot fail.
        let _ = writeln!(self.written, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A histogram of the family that was begun last; nothing if nothing was counted.
    pub fn times(&mut self, labels: &[Label<'_>], times: &Times) {
        let count = times.count();
        if count == 0 {
            return;
        }
        let mut so_far = 0;
        for (bound_ms, class) in BOUNDS_MS.into_iter().zip(times.classes) {
            so_far += class;
            self.line("_bucket", labels, Some(&seconds(bound_ms.saturating_mul(1000))), so_far);
        }
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, seconds(times.sum_us));
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<&str>, value: impl Display) {
        self.written.push_str(&self.family);
        self.written.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            self.written.push(separator);
            self.written.push_str(name);
            self.written.push_str("=\"");
            push_escaped(&mut self.written, value);
            self.written.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.written.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.written, " {value}");
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.written
    }
}

fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

/// Microseconds as seconds, without zeros at the end.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::counters::{CLASSES, Histogram};
    use super::*;
    use std::time::Duration;

    #[test]
    fn families_samples_and_labels_are_written_as_the_format_has_them() {
        let mut text = Text::default();
        text.family("tokens_total", Kind::Counter, "Tokens.");
        text.sample(&[("provider", "a\\b\"c\nd我"), ("model", "")], 7);
        text.foreign_family("process_open_fds", Kind::Gauge, "Open files.");
        text.sample(&[], 1.5);
        let expected = "\
# HELP uni_api_tokens_total Tokens.
# TYPE uni_api_tokens_total counter
uni_api_tokens_total{provider=\"a\\\\b\\\"c\\nd我\",model=\"\"} 7
# HELP process_open_fds Open files.
# TYPE process_open_fds gauge
process_open_fds 1.5
";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn the_classes_of_a_histogram_add_up() {
        let histogram = Histogram::default();
        [40, 60, 70, 700_000].into_iter().for_each(|ms| histogram.add(Duration::from_millis(ms)));
        let mut text = Text::default();
        text.family("t", Kind::Histogram, "Times.");
        text.times(&[("a", "b")], &Times::of([&histogram].into_iter()));
        text.times(&[("a", "none")], &Times::default());
        let text = text.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines.len(), CLASSES + 2);
        assert_eq!(lines[0], "uni_api_t_bucket{a=\"b\",le=\"0.05\"} 1");
        assert_eq!(lines[1], "uni_api_t_bucket{a=\"b\",le=\"0.1\"} 3");
        assert_eq!(lines[13], "uni_api_t_bucket{a=\"b\",le=\"600\"} 3");
        assert_eq!(
            lines[14..],
            ["uni_api_t_bucket{a=\"b\",le=\"+Inf\"} 4", "uni_api_t_sum{a=\"b\"} 700.17", "uni_api_t_count{a=\"b\"} 4",]
        );
    }
}
