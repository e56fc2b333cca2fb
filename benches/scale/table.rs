//! The table: each row with its reference, its figure, its goal, and whether it holds.

/// The names by which rows are asked for.
const NAMES: [&str; 8] =
    ["transfer", "empty", "million", "reconcile", "latency", "writes", "import", "gossip"];

/// The rows so far.
pub(crate) struct Table {
    wanted: Vec<String>,
    rows: Vec<[String; 4]>,
    holds: bool,
}

impl Table {
    /// A table of the rows of these names; of all rows without one. A name that no row has is an
    /// error.
    pub(crate) fn new(wanted: Vec<String>) -> Result<Self, String> {
        match wanted.iter().find(|name| !NAMES.contains(&name.as_str())) {
            Some(name) => Err(format!("there is no row {name}: give some of {}", NAMES.join(", "))),
            None => Ok(Self { wanted, rows: Vec::new(), holds: true }),
        }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        assert!(NAMES.contains(&name), "{name} is not among the names of rows");
        self.wanted.is_empty() || self.wanted.iter().any(|word| word == name)
    }

    /// Adds a row. `holds` is whether the goal is reached.
    pub(crate) fn row(
        &mut self,
        what: &str,
        reference: &str,
        figure: &str,
        goal: &str,
        holds: bool,
    ) {
        let mark = if holds { "yes" } else { "**no**" };
        eprintln!("{what}: {figure} (reference: {reference}; goal: {goal}): {mark}");
        self.holds &= holds;
        let goal = format!("{goal} | {mark}");
        self.rows.push([what.into(), reference.into(), figure.into(), goal]);
    }

    /// Prints all rows; whether every goal is reached.
    pub(crate) fn print(&self) -> bool {
        println!("| what | reference | figure | goal | holds |");
        println!("|---|---|---|---|---|");
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
        self.holds
    }
}
