//! Rows of a bench, their statistics and their two forms. Pure.

use serde_json::json;

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) case: String,
    /// Median of our runs.
    pub(super) ours: f64,
    /// Median of the reference's runs.
    pub(super) reference: f64,
    pub(super) unit: &'static str,
    /// Median of the ratios of the pairs, larger is better for us.
    pub(super) ratio: f64,
    /// Ratio that counts as good enough.
    pub(super) bar: f64,
    /// Number of pairs.
    pub(super) pairs: usize,
    pub(super) note: String,
}

impl Row {
    /// A row from pairs (ours, reference) of a quantity of which more is better. The pairs were
    /// measured in turn, so that what disturbed one disturbed the other.
    pub(super) fn from_pairs(
        bench: &'static str,
        case: String,
        unit: &'static str,
        bar: f64,
        pairs: &[(f64, f64)],
        note: String,
    ) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, reference)| ours / reference).collect();
        Self {
            bench,
            case,
            ours: median(pairs.iter().map(|pair| pair.0).collect()),
            reference: median(pairs.iter().map(|pair| pair.1).collect()),
            unit,
            ratio: median(ratios),
            bar,
            pairs: pairs.len(),
            note,
        }
    }

    /// As [`Row::from_pairs`], of a quantity of which less is better. A bar of 0 means that there is none.
    pub(super) fn from_costs(
        bench: &'static str,
        case: String,
        unit: &'static str,
        bar: f64,
        pairs: &[(f64, f64)],
        note: String,
    ) -> Self {
        let ratios = pairs.iter().map(|(ours, reference)| reference / ours).collect();
        Self { ratio: median(ratios), ..Self::from_pairs(bench, case, unit, bar, pairs, note) }
    }

    fn met(&self) -> bool {
        self.ratio >= self.bar
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len(), values.len() % 2) {
        (0, _) => 0.0,
        (_, 1) => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Rows for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<34} {:>9} {:>9} {:<9} {:>6} {:>5} {:<4} {:>5}  note\n",
        "case", "ours", "reference", "unit", "ratio", "bar", "met", "pairs"
    );
    for row in rows {
        let (bar, met) = match row.bar {
            0.0 => ("-".to_owned(), "-"),
            bar => (format!("{bar:.2}"), if row.met() { "yes" } else { "no" }),
        };
        text.push_str(&format!(
            "{:<34} {:>9.1} {:>9.1} {:<9} {:>6.2} {:>5} {:<4} {:>5}  {}\n",
            row.case, row.ours, row.reference, row.unit, row.ratio, bar, met, row.pairs, row.note
        ));
    }
    text
}

/// Rows for programs: one JSON object a line.
pub(super) fn json_lines(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let object = json!({
            "bench": row.bench, "case": row.case, "ours": row.ours, "reference": row.reference,
            "unit": row.unit, "ratio": row.ratio, "bar": row.bar, "met": row.met(),
            "pairs": row.pairs, "note": row.note,
        });
        format!("{object}\n")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(f64, f64)]) -> Row {
        Row::from_pairs("engine", "decode".into(), "tokens/s", 1.0, pairs, String::new())
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs() {
        let disturbed = row(&[(90.0, 60.0), (30.0, 20.0), (80.0, 50.0)]);
        assert!((disturbed.ratio - 1.5).abs() < 1e-9);
        assert!((disturbed.ours - 80.0).abs() < 1e-9);
        assert!(disturbed.met());
        assert!(!row(&[(9.0, 10.0)]).met());
    }

    #[test]
    fn of_costs_less_is_better_and_no_bar_is_no_verdict() {
        let row =
            |bar| Row::from_costs("d", "size".into(), "MB", bar, &[(5.0, 8.0)], String::new());
        assert!((row(1.0).ratio - 1.6).abs() < 1e-9 && row(1.0).met() && !row(2.0).met());
        assert!(table(&[row(0.0)]).contains("1.60     - -"), "{}", table(&[row(0.0)]));
    }

    #[test]
    fn medians_of_even_numbers_lie_between() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    #[test]
    fn a_json_row_has_the_agreed_fields() {
        let text = json_lines(&[row(&[(2.0, 1.0)])]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut names: Vec<&String> = value.as_object().unwrap().keys().collect();
        names.sort();
        let expected =
            ["bar", "bench", "case", "met", "note", "ours", "pairs", "ratio", "reference", "unit"];
        assert_eq!(names, expected);
    }
}
