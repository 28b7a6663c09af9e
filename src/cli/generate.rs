//! `nuthatch generate`: shell completions and manual pages, made from the definition of the command line so
//! that they cannot disagree with it, and the page about commands, made from their table. Packages and images are built with it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::arguments::{AFTER_HELP, Arguments, PROGRAM};
use crate::config::OPTIONS;
use crate::protocol::redis::command;

#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArguments {
    #[command(subcommand)]
    pub what: What,

    /// Print this help and exit
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Print what a shell reads to complete our options
    #[command(args_override_self = true)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,

        /// Print this help and exit
        #[arg(short = 'h', long, action = ArgAction::Help)]
        help: Option<bool>,
    },

    /// Print what becomes of each command of Redis, as a page of Markdown
    #[command(args_override_self = true)]
    Commands {
        /// Print this help and exit
        #[arg(short = 'h', long, action = ArgAction::Help)]
        help: Option<bool>,
    },

    /// Write the manual pages, one of the program and one of each sub-command
    #[command(args_override_self = true)]
    Man {
        /// Directory to write them to; it has to exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        /// Print this help and exit
        #[arg(short = 'h', long, action = ArgAction::Help)]
        help: Option<bool>,
    },
}

pub fn run(arguments: &GenerateArguments) -> ExitCode {
    match &arguments.what {
        What::Completions { shell, .. } => super::print(&completions(*shell)),
        What::Commands { .. } => super::print(&command::page()),
        What::Man { out, .. } => match write_pages(out) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!(
                    "{PROGRAM}: writing manual pages to '{}' failed: {error}",
                    out.display()
                );
                ExitCode::FAILURE
            }
        },
    }
}

/// The definition with all that follows from it.
fn definition() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

fn completions(shell: Shell) -> String {
    let all = Arguments::command();
    // bash would be told of hidden options too.
    let shown = all.get_arguments().filter(|it| !it.is_hide_set());
    let mut command = Command::new(PROGRAM)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(shown)
        .subcommands(all.get_subcommands());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, PROGRAM, &mut text);
    String::from_utf8(text).expect("the definition is text")
}

fn write_pages(directory: &Path) -> io::Result<()> {
    for (name, page) in pages()? {
        fs::write(directory.join(name), page)?;
    }
    Ok(())
}

/// File names and contents, the program's page first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let root = definition();
    let mut pages = vec![(format!("{PROGRAM}.1"), program_page(&root)?)];
    let mut todo: Vec<&Command> = root.get_subcommands().collect();
    while let Some(command) = todo.pop() {
        todo.extend(command.get_subcommands());
        let man = titled(command);
        let mut page = Vec::new();
        man.render(&mut page)?;
        let mut rest = Roff::new();
        section(&mut rest, "SEE ALSO", vec![bold(PROGRAM), roman("(1)")]);
        rest.to_writer(&mut page)?;
        pages.push((man.get_filename(), page));
    }
    Ok(pages)
}

fn titled(command: &Command) -> Man {
    Man::new(command.clone())
        .source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))
        .manual("Nuthatch")
}

fn program_page(root: &Command) -> io::Result<Vec<u8>> {
    let man = titled(root);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut rest = Roff::new();
    let signals = AFTER_HELP.strip_prefix("Signals: ").unwrap_or(AFTER_HELP);
    section(&mut rest, "SIGNALS", vec![roman(signals)]);
    keys(&mut rest);
    list(&mut rest, "FILES", FILES);
    list(&mut rest, "EXIT STATUS", EXIT_STATUS);
    section(&mut rest, "SEE ALSO", see_also(root));
    rest.to_writer(&mut page)?;
    page.flush()?;
    Ok(page)
}

const FILES: &[(&str, &str)] = &[
    (
        "conf/nutcracker.yml",
        "The configuration file, if -c names no other; below the directory the program is started in.",
    ),
    (
        "/etc/nuthatch/nuthatch.yml",
        "The configuration file of the Debian package's service.",
    ),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    (
        "0",
        "Ended by a signal, after what was in flight was finished; or what was asked for was printed.",
    ),
    (
        "1",
        "Wrong options, a configuration with mistakes, an address that cannot be listened on, a \
         failure; of nuthatch sentinel and -t --live also that something is wrong with what they saw.",
    ),
];

fn section(roff: &mut Roff, title: &str, text: Vec<Inline>) {
    roff.control("SH", [title]);
    roff.text(text);
}

fn list(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

/// The keys of the configuration file, from the table that reads it.
fn keys(roff: &mut Roff) {
    let introduction = "The configuration file is a YAML mapping from names of pools to pools, which have \
                        these keys. A server is host:port:weight or /path/of/socket:weight, with a name \
                        behind a space. -t checks a file.";
    section(roff, "CONFIGURATION", vec![roman(introduction)]);
    for option in OPTIONS {
        roff.control("TP", []);
        let unit = match option.unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        let absent = match option.default {
            Some(default) => format!(" (default {default}{unit})"),
            None => format!(" ({})", option.absent),
        };
        roff.text([bold(option.name), roman(absent)]);
        let needs = match option.needs_sentinels {
            true => " Only with sentinels.",
            false => "",
        };
        let accepted = option.accepted;
        roff.text([
            roman(format!("{}{needs} Accepted: ", option.doc)),
            italic(accepted),
            roman("."),
        ]);
    }
}

/// The pages of the sub-commands, and of the programs around us.
fn see_also(root: &Command) -> Vec<Inline> {
    let commands = root.get_subcommands();
    let ours = commands.map(|command| (format!("{PROGRAM}-{}", command.get_name()), 1));
    let others = [
        ("haproxy", 1),
        ("nutcracker", 8),
        ("redis-sentinel", 1),
        ("redis-server", 1),
    ];
    let others = others.map(|(name, number)| (name.to_owned(), number));
    let mut text = Vec::new();
    for (name, number) in ours.chain(others) {
        if !text.is_empty() {
            text.push(roman(", "));
        }
        text.extend([bold(name), roman(format!("({number})"))]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with its path of names, the program's first.
    fn commands() -> Vec<(Vec<String>, Command)> {
        let mut all = Vec::new();
        let mut todo = vec![(vec![PROGRAM.to_owned()], definition())];
        while let Some((path, command)) = todo.pop() {
            for child in command.get_subcommands() {
                let path = [path.clone(), vec![child.get_name().to_owned()]].concat();
                todo.push((path, child.clone()));
            }
            all.push((path, command));
        }
        assert!(all.len() >= 6, "sub-commands are missing");
        all
    }

    /// The long options that are shown.
    fn options(command: &Command) -> Vec<String> {
        let shown = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        shown
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect()
    }

    #[test]
    fn completions_know_every_option_and_sub_command() {
        for (shell, prefix) in [
            (Shell::Bash, "--"),
            (Shell::Zsh, "--"),
            (Shell::Fish, "-l "),
        ] {
            let text = completions(shell);
            for (path, command) in commands() {
                let name = path.last().expect("a name");
                assert!(text.contains(name), "{shell}: {name}");
                for option in options(&command) {
                    let option = format!("{prefix}{option}");
                    assert!(text.contains(&option), "{shell}: {option}");
                }
            }
            assert!(!text.contains("detached"), "{shell} shows what is hidden");
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let pages = pages().expect("nothing is written yet");
        assert_eq!(pages.len(), commands().len());
        for (path, command) in commands() {
            let file = format!("{}.1", path.join("-"));
            let page = pages.iter().find(|(name, _)| *name == file);
            let page = &page.unwrap_or_else(|| panic!("no {file}")).1;
            // As roff wants hyphens that are not to be broken at.
            let text = str::from_utf8(page).expect("UTF-8").replace("\\-", "-");
            for option in options(&command) {
                assert!(text.contains(&format!("--{option}")), "{file}: {option}");
            }
            for child in command.get_subcommands() {
                assert!(
                    text.contains(child.get_name()),
                    "{file}: {}",
                    child.get_name()
                );
            }
            assert!(!text.contains("detached"), "{file} shows what is hidden");
        }
    }

    #[test]
    fn the_programs_page_has_what_clap_does_not_know() {
        let pages = pages().expect("nothing is written yet");
        let text = str::from_utf8(&pages[0].1)
            .expect("UTF-8")
            .replace("\\-", "-");
        for title in [
            "SIGNALS",
            "CONFIGURATION",
            "FILES",
            "EXIT STATUS",
            "SEE ALSO",
        ] {
            let heading = [format!(".SH {title}\n"), format!(".SH \"{title}\"\n")];
            assert!(
                heading.iter().any(|it| text.contains(it)),
                "{title}\n{text}"
            );
        }
        for signal in ["SIGTERM", "SIGHUP", "SIGTTIN"] {
            assert!(text.contains(signal), "{signal}");
        }
        for option in OPTIONS {
            assert!(
                text.contains(&format!("\\fB{}\\fR (", option.name)),
                "{}",
                option.name
            );
        }
    }
}
