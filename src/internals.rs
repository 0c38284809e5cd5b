//! For this project's own fuzz targets, benches and deep tests: no part of the API, no promise at all.

/// One property for each on-disk structure, by the name of its page in `format-spec/`.
pub mod fuzz {
    mod choices;
    mod directory;
    mod operations;
    mod plain;
    mod selector;

    /// A target's name, and what checks one input; it panics at a find.
    pub type Target = (&'static str, fn(&[u8]));

    macro_rules! structures {
        ($($name:ident)*) => {
            $(
                #[doc = concat!("Feeds bytes to the decoder of `", stringify!($name), "` and checks what it accepts.")]
                pub fn $name(data: &[u8]) {
                    crate::format::$name::fuzz(data);
                }
            )*

            const STRUCTURES: &[Target] = &[$((stringify!($name), $name)),*];
        };
    }
    structures! {
        block_meta
        chunk
        chunk_group
        columns
        directory_page
        families_page
        gorilla
        manifest
        packed
        pairs_filter
        postings_list
        series_page
        spill_run
        terms_page
        time_column
        tombstones
        wal_commit
        wal_metadata
        wal_record
        wal_segment
    }

    const STORES: &[Target] = &[("selector", selector), ("operations", operations), ("directory", directory)];

    #[cfg(feature = "import")]
    const PARSERS: &[Target] = &[
        ("parse_text", parse_text),
        ("parse_openmetrics", parse_openmetrics),
        ("parse_scrapes", parse_scrapes),
        ("parse_jsonl", parse_jsonl),
        ("parse_promdump", parse_promdump),
    ];

    #[cfg(not(feature = "import"))]
    const PARSERS: &[Target] = &[];

    /// All targets: a fuzz target of the same name calls each, and a test replays its corpus.
    pub fn targets() -> impl Iterator<Item = Target> {
        [STRUCTURES, PARSERS, STORES].into_iter().flatten().copied()
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
pub mod bench;
