//! A reader of Prometheus' text format, version 0.0.4, that accepts nothing else.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// All samples of a text.
pub struct Exposition {
    /// The type of each family.
    families: BTreeMap<String, String>,
    /// By name and labels.
    samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// Fails the test where the text is not as it must be.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends, too");
        let mut read = Self { families: BTreeMap::new(), samples: BTreeMap::new() };
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            match line.strip_prefix("# HELP ") {
                Some(help) => family = read.family(help, lines.next().expect("a type behind the help")),
                None => read.sample(line, &family),
            }
        }
        read.check_histograms();
        read
    }

    fn family(&mut self, help: &str, kind: &str) -> String {
        let (name, help) = help.split_once(' ').expect("a help");
        assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{name} {help}");
        let kind = kind.strip_prefix("# TYPE ").and_then(|kind| kind.strip_prefix(name)?.strip_prefix(' '));
        let kind = kind.unwrap_or_else(|| panic!("no type of {name}"));
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{name} {kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let before = self.families.insert(name.to_owned(), kind.to_owned());
        assert_eq!(before, None, "{name} comes twice");
        name.to_owned()
    }

    fn sample(&mut self, line: &str, family: &str) {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, rest) = line.split_at(end);
        let suffixes = match self.families.get(family).map(String::as_str) {
            Some("histogram") => &["_bucket", "_sum", "_count"][..],
            Some(_) => &[""],
            None => panic!("{line} belongs to nothing"),
        };
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        assert!(suffixes.contains(&suffix), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            None => (Labels::new(), rest),
            Some(rest) => labels(rest),
        };
        let value = value.strip_prefix(' ').and_then(|value| value.parse::<f64>().ok());
        let value = value.unwrap_or_else(|| panic!("no number: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
        let before = self.samples.insert((name.to_owned(), labels), value);
        assert_eq!(before, None, "{line} comes twice");
    }

    /// Classes grow, and the last one has everything.
    fn check_histograms(&self) {
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut classes = BTreeMap::<Labels, Vec<(f64, f64)>>::new();
            for (labels, count) in self.all(&format!("{name}_bucket")) {
                let mut labels = labels.clone();
                let bound = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
                classes.entry(labels).or_default().push((bound, count));
            }
            let counts = self.all(&format!("{name}_count"));
            assert_eq!(counts.len(), classes.len(), "{name}");
            assert_eq!(self.all(&format!("{name}_sum")).len(), classes.len(), "{name}");
            for (labels, count) in counts {
                let mut classes = classes[labels].clone();
                classes.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(classes.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1), "{name} {classes:?}");
                assert_eq!(classes.last(), Some(&(f64::INFINITY, count)), "{name}");
            }
        }
    }

    /// The samples of this name.
    pub fn all(&self, name: &str) -> Vec<(&Labels, f64)> {
        let of_name = self.samples.iter().filter(|((other, _), _)| other == name);
        of_name.map(|((_, labels), value)| (labels, *value)).collect()
    }

    /// The one sample of this name with these labels and no others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Labels>();
        let found = self.samples.get(&(name.to_owned(), labels.clone()));
        *found.unwrap_or_else(|| panic!("no {name} {labels:?} among {:?}", self.all(name)))
    }

    /// Every value of this label.
    pub fn values_of(&self, label: &str) -> impl Iterator<Item = &str> {
        self.samples.keys().filter_map(move |(_, labels)| labels.get(label).map(String::as_str))
    }

    pub fn label_names(&self) -> BTreeSet<&str> {
        self.samples.keys().flat_map(|(_, labels)| labels.keys().map(String::as_str)).collect()
    }

    /// Whether a sample of this name could be there.
    pub fn has_family_of(&self, name: &str) -> bool {
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
        let is_histogram = |name| self.families.get(name).is_some_and(|kind| kind == "histogram");
        of_histogram.into_iter().any(is_histogram) || (self.families.contains_key(name) && !is_histogram(name))
    }
}

/// Labels up to the brace that closes them, and what is behind it.
fn labels(mut rest: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && !name.contains(':'), "{name}");
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next().expect("the end of a value") {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    other => panic!("{other:?} is no escape"),
                }),
                (_, c) => value.push(c),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), value), None, "{name} comes twice");
        match behind[end + 1..].split_at(1) {
            ("}", behind) => return (labels, behind),
            (",", behind) => rest = behind,
            other => panic!("{other:?} behind a label"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit())
}
