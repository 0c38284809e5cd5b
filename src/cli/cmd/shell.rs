//! `completions` and `man`: what a package installs beside the binary.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Args;
use crate::failure::Failure;
use crate::output::stdout;

/// Runs `completions`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    // Generated into memory: the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "silverback", &mut script);
    print(&script)
}

/// Runs `man`: one page, a section for each command.
pub(crate) fn man() -> Result<u8, Failure> {
    let mut root = Args::command();
    root.build();
    let mut page = Vec::new();
    let man = Man::new(root.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for command in root.get_subcommands().filter(|c| c.get_name() != "help") {
        page.extend(section(command)?);
    }
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    print(&page)
}

/// A command's own page as a section of the one page: its sections become subsections.
fn section(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut own = Vec::new();
    let man = Man::new(command.clone());
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    man.render_options_section(&mut own)?;
    let own = String::from_utf8_lossy(&own).replace(".SH ", ".SS ");
    Ok(format!(".SH {}\n{own}", command.get_name().to_uppercase()).into_bytes())
}

fn print(bytes: &[u8]) -> Result<u8, Failure> {
    let mut out = stdout();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(0)
}
