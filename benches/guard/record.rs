//! What was recorded, and how far from it what was counted is.

use std::fmt;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/guard/values.txt");

const HEAD: &str = "\
# What requests cost: instructions as callgrind counts them, and system calls, each per unit.
# benches/guard/run.sh compares with it, benches/guard/run.sh --record writes it. See benches/README.md.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Instructions,
    Syscalls,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Instructions, Kind::Syscalls];

    fn name(self) -> &'static str {
        match self {
            Kind::Instructions => "instructions",
            Kind::Syscalls => "syscalls",
        }
    }

    fn digits(self) -> usize {
        match self {
            Kind::Instructions => 1,
            Kind::Syscalls => 3,
        }
    }

    /// How far above and below `recorded` is no deviation.
    fn tolerance(self, recorded: f64) -> (f64, f64) {
        match self {
            // One instruction is more than that for the smallest.
            Kind::Instructions => ((recorded * 0.03).max(1.0), (recorded * 0.03).max(1.0)),
            // The kernel may report several servers' replies at once, or one after the other; one call more
            // per request is more than this.
            Kind::Syscalls => (recorded * 0.08, recorded * 0.08),
        }
    }
}

/// One count.
#[derive(Clone, Debug)]
pub struct Figure {
    pub kind: Kind,
    pub name: String,
    pub value: f64,
    /// Of what it is the cost.
    pub unit: String,
}

impl Figure {
    fn is(&self, other: &Figure) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }

    fn parse(line: &str) -> Option<Figure> {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        Some(Figure {
            kind: Kind::ALL.into_iter().find(|known| known.name() == kind)?,
            name: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
            unit: words.last()?.to_owned(),
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.kind.name(), &self.name);
        let digits = self.kind.digits();
        write!(
            f,
            "{kind:12} {name:24} {:10.digits$} per {}",
            self.value, self.unit
        )
    }
}

#[derive(Debug, Default)]
pub struct Record {
    /// What it was counted with, one program per line.
    tools: Vec<String>,
    pub figures: Vec<Figure>,
}

#[derive(Debug)]
pub struct Comparison {
    /// All figures.
    pub text: String,
    /// What is not as it should be.
    pub deviations: Vec<String>,
}

impl Record {
    pub fn load() -> Result<Record, String> {
        let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        let mut record = Record::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match (line.strip_prefix("with "), Figure::parse(line)) {
                (Some(tool), _) => record.tools.push(tool.to_owned()),
                (None, Some(figure)) => record.figures.push(figure),
                (None, None) => return Err(format!("{FILE}: cannot be understood: {line}")),
            }
        }
        Ok(record)
    }

    /// What was just counted.
    pub fn of(figures: Vec<Figure>) -> Result<Record, String> {
        Ok(Record {
            tools: tools()?,
            figures,
        })
    }

    pub fn save(&self) -> Result<(), String> {
        let mut text = HEAD.to_owned();
        for tool in &self.tools {
            let _ = writeln!(text, "with {tool}");
        }
        for figure in &self.figures {
            let _ = writeln!(text, "{figure}");
        }
        std::fs::write(Path::new(FILE), text).map_err(|error| format!("{FILE}: {error}"))
    }

    /// In which programs this run differs from the recorded one: the cause may be there.
    pub fn other_tools(&self) -> Vec<String> {
        let now = tools().unwrap_or_default();
        let others = now.into_iter().filter(|tool| !self.tools.contains(tool));
        others
            .map(|tool| format!("Recorded was something else than {tool}."))
            .collect()
    }

    /// `only`: the figures are those whose names contain it.
    pub fn compare(&self, figures: &[Figure], only: &str) -> Comparison {
        let mut comparison = Comparison {
            text: String::new(),
            deviations: Vec::new(),
        };
        for figure in figures {
            let recorded = self.figures.iter().find(|known| known.is(figure));
            comparison.add(figure, recorded.map(|known| known.value));
        }
        let known = self
            .figures
            .iter()
            .filter(|known| known.name.contains(only));
        for gone in known.filter(|known| !figures.iter().any(|figure| figure.is(known))) {
            let (kind, name) = (gone.kind.name(), &gone.name);
            comparison
                .deviations
                .push(format!("GONE   {kind} of {name}"));
        }
        comparison
    }
}

impl Comparison {
    fn add(&mut self, figure: &Figure, recorded: Option<f64>) {
        let Some(recorded) = recorded else {
            let _ = writeln!(self.text, "{figure}");
            self.deviations.push(format!("NEW    {figure}"));
            return;
        };
        let digits = figure.kind.digits();
        let more = figure.value - recorded;
        let percent = more / recorded * 100.0;
        let _ = writeln!(
            self.text,
            "{figure}  (recorded {recorded:.digits$}, {percent:+.1} %)"
        );
        let (above, below) = figure.kind.tolerance(recorded);
        let verdict = match more {
            _ if more > above => "WORSE ",
            _ if more < -below => "BETTER",
            _ => return,
        };
        let (kind, name, now, unit) =
            (figure.kind.name(), &figure.name, figure.value, &figure.unit);
        self.deviations.push(format!(
            "{verdict} {name}: {now:.digits$} {kind} per {unit} instead of {recorded:.digits$} ({percent:+.1} %)"
        ));
    }
}

/// The programs that decide on the figures, as they name themselves.
fn tools() -> Result<Vec<String>, String> {
    let programs = [
        ("rustc", "--version"),
        ("valgrind", "--version"),
        ("strace", "--version"),
        ("ldd", "--version"),
    ];
    let versions = programs.map(|(program, argument)| {
        let output = Command::new(program).arg(argument).output();
        let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or(program).to_owned())
    });
    versions.into_iter().collect()
}
