//! Metadata of families on its way to the sink, in the order in which they first appeared.

use std::collections::HashMap;

use super::options::SampleSink;
use super::parser::Event;
use crate::{Metadata, Result};

/// Families whose metadata is kept before it is handed on.
const MAX_FAMILIES: usize = 65_536;

/// What is known and not handed on yet.
#[derive(Default)]
pub(crate) struct Families {
    places: HashMap<String, usize>,
    list: Vec<(String, Metadata)>,
}

impl Families {
    /// Takes note of a metadata line.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Type(family, metric_type) => {
                self.change(family.unescaped(), |m| m.metric_type = *metric_type);
            }
            Event::Help(family, text) => self.change(family.unescaped(), |m| m.help = text.unescaped()),
            Event::Unit(family, unit) => self.change(family.unescaped(), |m| m.unit = (*unit).to_owned()),
            _ => {}
        }
    }

    fn change(&mut self, family: String, change: impl FnOnce(&mut Metadata)) {
        let next = self.list.len();
        let place = *self.places.entry(family).or_insert_with_key(|family| {
            self.list.push((family.clone(), Metadata::default()));
            next
        });
        if let Some((_, metadata)) = self.list.get_mut(place) {
            change(metadata);
        }
    }

    /// Hands all on if there are many.
    pub(crate) fn make_room<S: SampleSink>(&mut self, sink: &mut S) -> Result<()> {
        if self.list.len() >= MAX_FAMILIES { self.flush(sink) } else { Ok(()) }
    }

    /// Hands all on.
    pub(crate) fn flush<S: SampleSink>(&mut self, sink: &mut S) -> Result<()> {
        self.places.clear();
        for (family, metadata) in self.list.drain(..) {
            sink.metadata(&family, &metadata)?;
        }
        Ok(())
    }
}
