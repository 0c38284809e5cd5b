//! What the query benchmark asks: one selector for each kind of matcher, and what it should find.

use silverback::{Labels, Selector};

use super::data::{Data, PER_TARGET};
use crate::failure::Failure;

/// One question.
pub(crate) struct Selection {
    /// The kind of matcher.
    pub(crate) name: &'static str,
    /// As in PromQL.
    pub(crate) text: String,
    /// The same, parsed.
    pub(crate) selector: Selector,
}

/// One question of each kind.
pub(crate) fn all(data: &Data) -> Result<Vec<Selection>, Failure> {
    let targets = data.series.div_ceil(PER_TARGET);
    let instance = |i: u32| format!("host-{:04}.example.com:9100", i * 7 % targets.max(1));
    let ten: Vec<String> = (0..10).map(|i| instance(i).replace('.', "\\\\.")).collect();
    let questions = [
        ("exact", format!(r#"{{instance="{}"}}"#, instance(3))),
        ("exact_two", r#"bench_info_0{device="dev3",dc="dc0"}"#.to_owned()),
        ("alternation", format!(r#"bench_total_4{{instance=~"{}"}}"#, ten.join("|"))),
        ("prefix", r#"bench_total_4{instance=~"host-00.*"}"#.to_owned()),
        ("suffix", r#"bench_total_4{instance=~".*1\\.example\\.com:9100"}"#.to_owned()),
        ("contains", r#"bench_total_4{instance=~".*-00[0-4].*"}"#.to_owned()),
        ("negative", r#"bench_total_4{device!~"dev[0-6]",dc!="dc1"}"#.to_owned()),
        ("empty_matching", r#"bench_total_4{generation=~"|g1",absent="",job!=""}"#.to_owned()),
        ("name", "bench_total_4".to_owned()),
    ];
    questions
        .into_iter()
        .map(|(name, text)| {
            let selector = text.parse()?;
            Ok(Selection { name, text, selector })
        })
        .collect()
}

impl Selection {
    /// Whether a series is to be found, asked of each matcher alone.
    pub(crate) fn takes(&self, labels: &Labels) -> bool {
        let value = |name| labels.value(name).unwrap_or_default();
        self.selector.matchers().iter().all(|m| m.matches(value(m.name())))
    }
}
