//! The picture at the top: a row for each slot, a bar for each stretch, a colour for each version.
//! How sure it is shows in the bar's pattern, so that it survives a printer without colours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use edgeformer_proto::compliance::{Certainty, Deployment, Report, micros};
use time::OffsetDateTime;

use super::Names;
use super::html::escape;

/// Rows of the picture; a fleet of thousands is read in the table.
const MAX_ROWS: usize = 60;
/// Versions in the legend.
const MAX_LEGEND: usize = 12;
/// Colours that people with colour blindness tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d00"];

const WIDTH: f64 = 1000.0;
const LABELS: f64 = 210.0;
const ROW: f64 = 22.0;
const TOP: f64 = 26.0;
const TICKS: i64 = 6;

/// From times to places.
struct Axis {
    from_us: i64,
    to_us: i64,
}

impl Axis {
    fn x(&self, us: i64) -> f64 {
        let (at, span) = (us.clamp(self.from_us, self.to_us) - self.from_us, self.span_us());
        LABELS + (WIDTH - LABELS) * at as f64 / span as f64
    }

    fn span_us(&self) -> i64 {
        (self.to_us - self.from_us).max(1)
    }

    fn day(us: i64) -> String {
        let at = OffsetDateTime::from_unix_timestamp(us.div_euclid(1_000_000)).ok();
        at.map(|at| at.date().to_string()).unwrap_or_default()
    }
}

/// The picture, or a sentence where there is nothing to show.
pub fn timeline(report: &Report) -> String {
    let times = (micros(&report.header.from), micros(&report.header.to));
    let (Some(from_us), Some(to_us)) = times else { return String::new() };
    let mut rows: BTreeMap<(&str, &str, &str), Vec<&Deployment>> = BTreeMap::new();
    for one in &report.deployments {
        let key = (one.device_name.as_str(), one.device_id.as_str(), one.slot.as_str());
        rows.entry(key).or_default().push(one);
    }
    if rows.is_empty() {
        return "<p class=\"none\">There is nothing to show.</p>\n".to_owned();
    }
    let (axis, names) = (Axis { from_us, to_us }, Names::of(report));
    let colours: BTreeMap<&str, &str> = report
        .cited
        .versions
        .iter()
        .enumerate()
        .map(|(at, one)| (one.version_id.as_str(), COLOURS[at % COLOURS.len()]))
        .collect();
    let shown = rows.len().min(MAX_ROWS);
    let height = TOP + ROW * shown as f64 + 8.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"system-ui,sans-serif\" \
         font-size=\"11\">\n<title>Versions per device and slot over time</title>\n\
         <defs><pattern id=\"assigned\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"3\" height=\"6\" fill=\"#fff\" \
         fill-opacity=\".65\"/></pattern><pattern id=\"unknown\" width=\"6\" height=\"6\" \
         patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" fill=\"#fff\" \
         fill-opacity=\".6\"/><circle cx=\"3\" cy=\"3\" r=\"1.2\" fill=\"#57606a\"/></pattern>\
         </defs>\n"
    );
    for tick in 0..=TICKS {
        let us = from_us + axis.span_us() / TICKS * tick;
        let (x, anchor) = (axis.x(us), if tick == TICKS { "end" } else { "start" });
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"18\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"#d8dee4\"/>\
             <text x=\"{x:.1}\" y=\"12\" fill=\"#57606a\" text-anchor=\"{anchor}\">{}</text>",
            Axis::day(us)
        );
    }
    for (at, ((device, _, slot), stretches)) in rows.iter().take(MAX_ROWS).enumerate() {
        let y = TOP + ROW * at as f64;
        let label: String = format!("{device} / {slot}").chars().take(34).collect();
        let _ = writeln!(svg, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + 14.0, escape(&label));
        for one in stretches {
            bar(&mut svg, &axis, &names, &colours, y, one);
        }
    }
    svg.push_str("</svg>\n");
    if rows.len() > shown {
        let more = rows.len() - shown;
        let _ = writeln!(svg, "<p class=\"none\">{more} more rows are in the table below.</p>");
    }
    svg + &legend(report, &names, &colours)
}

fn bar<'a>(
    svg: &mut String,
    axis: &Axis,
    names: &Names<'a>,
    colours: &BTreeMap<&str, &str>,
    y: f64,
    one: &'a Deployment,
) {
    let begin = axis.x(micros(&one.since).unwrap_or(axis.from_us));
    let end = axis.x(one.until.as_deref().and_then(micros).unwrap_or(axis.to_us));
    let width = (end - begin).max(1.0);
    let colour = colours.get(one.version_id.as_str()).copied().unwrap_or("#8c959f");
    let name = names.get(&one.version_id);
    let until = one.until.as_deref().unwrap_or("the end of the period");
    let shape =
        format!("x=\"{begin:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"");
    let _ = write!(
        svg,
        "<g><title>{} {}: {} up to {}</title><rect {shape} fill=\"{colour}\"/>",
        escape(name),
        one.certainty.as_str(),
        escape(&one.since),
        escape(until)
    );
    let pattern = match one.certainty {
        Certainty::Reported => None,
        Certainty::Assigned => Some("assigned"),
        Certainty::Unknown => Some("unknown"),
    };
    if let Some(pattern) = pattern {
        let _ = write!(svg, "<rect {shape} fill=\"url(#{pattern})\" stroke=\"{colour}\"/>");
    }
    svg.push_str("</g>\n");
}

fn legend(report: &Report, names: &Names<'_>, colours: &BTreeMap<&str, &str>) -> String {
    let versions = &report.cited.versions;
    let mut items: Vec<String> = versions
        .iter()
        .take(MAX_LEGEND)
        .map(|one| {
            let colour = colours.get(one.version_id.as_str()).copied().unwrap_or("#8c959f");
            let name = escape(names.get(&one.version_id));
            format!("<span style=\"color:{colour}\">&#9632;</span> {name}")
        })
        .collect();
    if versions.len() > MAX_LEGEND {
        items.push(format!("{} more versions", versions.len() - MAX_LEGEND));
    }
    items.push("plain: reported by the device".to_owned());
    items.push("striped: assigned".to_owned());
    items.push("dotted: unknown".to_owned());
    format!("<p class=\"sub\">{}</p>\n", items.join(" &middot; "))
}
