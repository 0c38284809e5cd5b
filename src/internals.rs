//! For this project's own fuzz targets, benches and deep tests: no part of the API, no promise at all.

/// One property for each on-disk structure, by the name of its page in `format-spec/`.
pub mod fuzz {
    mod choices;
    mod directory;
    mod operations;
    mod plain;
    mod selector;

    macro_rules! structures {
        ($($name:ident)*) => { $(
            #[doc = concat!("Feeds bytes to the decoder of `", stringify!($name), "` and checks what it accepts.")]
            pub fn $name(data: &[u8]) {
                crate::format::$name::fuzz(data);
            }
        )* };
    }
    structures! {
        block_meta
        chunk
        chunk_group
        directory_page
        families_page
        gorilla
        manifest
        postings_list
        series_page
        spill_run
        terms_page
        tombstones
        wal_commit
        wal_metadata
        wal_record
        wal_segment
    }

    /// Feeds bytes to the parser of Prometheus text: they are read to their end, in whatever pieces they come.
    #[cfg(feature = "import")]
    pub fn parse_text(data: &[u8]) {
        crate::import::fuzz(data, crate::import::Format::Text);
    }

    /// Feeds bytes to the parser of OpenMetrics and the strict check.
    #[cfg(feature = "import")]
    pub fn parse_openmetrics(data: &[u8]) {
        crate::import::fuzz(data, crate::import::Format::OpenMetrics);
    }

    /// Feeds bytes to the reader of recorded scrapes.
    #[cfg(feature = "import")]
    pub fn parse_scrapes(data: &[u8]) {
        crate::import::fuzz(data, crate::import::Format::Scrapes);
    }

    /// Feeds bytes to the reader of JSON lines.
    #[cfg(feature = "import")]
    pub fn parse_jsonl(data: &[u8]) {
        crate::import::fuzz(data, crate::import::Format::Jsonl);
    }

    /// Feeds bytes to the reader of dumps.
    #[cfg(feature = "import")]
    pub fn parse_promdump(data: &[u8]) {
        crate::import::fuzz(data, crate::import::Format::Promdump);
    }

    /// Feeds bytes to the parser of selectors, and compares what matches with a plain automaton, series by series.
    pub fn selector(data: &[u8]) {
        selector::run(data);
    }

    /// Does to a store what the bytes say, power cuts included, and compares it with a plain map.
    pub fn operations(data: &[u8]) {
        operations::run(data);
    }

    /// Damages the files of a small store as the bytes say, and opens, reads, verifies and mends it.
    pub fn directory(data: &[u8]) {
        directory::run(data);
    }
}

/// Parts that the benches measure alone.
pub mod bench {
    use crate::format::gorilla;
    use crate::model::Columns;

    /// The payload of a chunk of these rows, appended one by one.
    pub fn chunk_append(t: &[i64], v: &[f64]) -> Vec<u8> {
        gorilla::encode(t, v)
    }

    /// Appends the rows of a payload to `out`. Whether they could be read.
    pub fn chunk_decode(payload: &[u8], out: &mut Columns) -> bool {
        gorilla::decode_into(payload, out).is_ok()
    }
}
