//! The table of results: name, bound, iterations, seconds, result.

use std::time::Duration;

use anyhow::{Result, ensure};

/// The result of one run.
pub(crate) struct Row {
    pub(crate) name: String,
    /// The limit of the run: cores, a length, a time.
    pub(crate) bound: String,
    pub(crate) iterations: u64,
    pub(crate) took: Duration,
    /// The finding, or why the run failed.
    pub(crate) result: Result<String, String>,
}

/// A report that prints each row as it ends, and all of them as a table.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

fn line(row: &Row, width: usize) -> String {
    let Row { name, bound, iterations, took, result } = row;
    let result = match result {
        Ok(said) => said.clone(),
        Err(why) => format!("FAILED: {why}"),
    };
    format!("{name:<width$}  {bound:>22}  {iterations:>10}  {:>7.1}  {result}", took.as_secs_f64())
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", line(&row, 0));
        self.rows.push(row);
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).chain([4]).max().unwrap_or_default();
        let mut text = format!("{:<width$}  {:>22}  {:>10}  {:>7}  result", "name", "bound", "iterations", "seconds");
        for row in &self.rows {
            text += "\n";
            text += &line(row, width);
        }
        text
    }

    /// Prints the table, and checks that there are runs, that each ran at least once, and that none
    /// failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{}", self.table());
        let failed = self.rows.iter().filter(|row| row.result.is_err()).count();
        ensure!(failed == 0, "{failed} of {} failed", self.rows.len());
        let idle: Vec<&str> = self.rows.iter().filter(|row| row.iterations == 0).map(|row| row.name.as_str()).collect();
        ensure!(!self.rows.is_empty() && idle.is_empty(), "nothing was run: {}", idle.join(", "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(iterations: u64, result: Result<String, String>) -> Row {
        Row { name: "a".into(), bound: "1 core".into(), iterations, took: Duration::from_millis(1500), result }
    }

    #[test]
    fn a_failure_and_an_idle_run_are_failures() {
        let finish = |rows: Vec<Row>| Report { rows }.finish();
        assert!(finish(vec![row(1, Ok("well".into()))]).is_ok());
        assert!(finish(vec![row(1, Ok("well".into())), row(1, Err("ill".into()))]).is_err());
        assert!(finish(vec![row(0, Ok("well".into()))]).is_err());
        assert!(finish(Vec::new()).is_err());
    }

    #[test]
    fn a_table_has_a_line_for_each() {
        let report = Report { rows: vec![row(12, Ok("well".into())), row(3, Err("ill".into()))] };
        let table = report.table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["name", "bound", "iterations", "seconds", "result"]);
        assert_eq!(lines[1], ["a", "1", "core", "12", "1.5", "well"]);
        assert_eq!(lines[2], ["a", "1", "core", "3", "1.5", "FAILED:", "ill"]);
    }
}
