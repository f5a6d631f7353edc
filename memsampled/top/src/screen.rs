//! Draws the screen.

use clap::ValueEnum;
use memsample_input::{clipped, last, printable, rounded_size};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use unicode_width::UnicodeWidthStr;

use crate::app::App;
use crate::own_cost::own_rss_bytes;
use crate::row_key::By;
use crate::rows::{Row, SortBy, Sum};
use crate::sparkline::sparkline;

/// The lines above the rows, with that of the titles.
const HEAD: u16 = 4;
/// A PSS older than this is shown dimmed.
const OLD_S: u16 = 30;
/// The characters of a sparkline.
const SPARKLINE: usize = 12;

const KEYS: &str = "\
up, down, PgUp, PgDn   move
left, right            step back, on in time
[ ]                    ten seconds back, on
0 $                    first instant, newest one
space                  pause, go on
b                      rows: process, role, test, cgroup, user
t                      tree of processes
s, or r p u w m g n    sort: rss, pss, uss, swap,
                       max (peak), growth, name
S                      reverse the order
/                      filter by a regular expression
q                      quit

RSS counts shared pages in full for every process; PSS
divides them. PSS and USS are read within 1 % of a CPU,
those that change first; dimmed: older than 30 s; -: not
read yet; >=: not read of all. PEAK of a group is that
of the last minute. GROWTH is the slope of RSS over it.";

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Pid,
    Processes,
    User,
    Rss,
    Pss,
    Uss,
    Swap,
    Peak,
    Growth,
    Left,
    Minute,
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Processes => "PROCS",
            Self::User => "USER",
            Self::Rss => "RSS",
            Self::Pss => "PSS",
            Self::Uss => "USS",
            Self::Swap => "SWAP",
            Self::Peak => "PEAK",
            Self::Growth => "GROWTH/min",
            Self::Left => "TO LIMIT",
            Self::Minute => "LAST MINUTE",
        }
    }

    const fn width(self) -> usize {
        match self {
            Self::Pid => 7,
            Self::Processes => 5,
            Self::User => 8,
            Self::Growth => 11,
            Self::Minute => SPARKLINE,
            _ => 10,
        }
    }

    /// What the column is sorted by.
    const fn sort(self) -> Option<SortBy> {
        match self {
            Self::Rss => Some(SortBy::Rss),
            Self::Pss => Some(SortBy::Pss),
            Self::Uss => Some(SortBy::Uss),
            Self::Swap => Some(SortBy::Swap),
            Self::Peak => Some(SortBy::Peak),
            Self::Growth => Some(SortBy::Growth),
            _ => None,
        }
    }
}

/// The columns, those first that a narrow terminal keeps.
const IMPORTANCE: [Column; 11] = [
    Column::Rss,
    Column::Pss,
    Column::Pid,
    Column::Processes,
    Column::Left,
    Column::Minute,
    Column::Growth,
    Column::Peak,
    Column::Uss,
    Column::User,
    Column::Swap,
];

/// The columns in the order in which they stand.
const ORDER: [Column; 11] = [
    Column::Pid,
    Column::Processes,
    Column::User,
    Column::Rss,
    Column::Pss,
    Column::Uss,
    Column::Swap,
    Column::Peak,
    Column::Left,
    Column::Growth,
    Column::Minute,
];

/// The least room for the name.
const MIN_NAME: usize = 16;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    let rows_height = area.height.saturating_sub(HEAD + 1);
    app.fitting = usize::from(rows_height);
    scroll(app);
    let columns = fitting_columns(usize::from(area.width), app.choice.by);
    let mut lines = head(app, usize::from(area.width));
    lines.push(titles(app, &columns, usize::from(area.width)));
    let shown = app.rows.iter().enumerate().skip(app.first).take(app.fitting);
    for (index, row) in shown {
        lines.push(line_of(app, row, &columns, index == app.selected, usize::from(area.width)));
    }
    let body = Rect { height: area.height.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(lines), body);
    let foot = Rect { y: area.height.saturating_sub(1), height: area.height.min(1), ..area };
    frame.render_widget(Paragraph::new(foot_of(app)), foot);
    if app.shows_help {
        help(frame, area);
    }
}

/// Keeps the selected row on the screen.
fn scroll(app: &mut App) {
    let fitting = app.fitting.max(1);
    if app.selected < app.first {
        app.first = app.selected;
    } else if app.selected >= app.first + fitting {
        app.first = app.selected + 1 - fitting;
    }
    app.first = app.first.min(app.rows.len().saturating_sub(fitting));
}

fn fitting_columns(width: usize, by: By) -> Vec<Column> {
    let mut left = width.saturating_sub(MIN_NAME);
    let mut kept = Vec::new();
    for column in IMPORTANCE {
        let has = match column {
            Column::Pid => by == By::Process,
            Column::Processes => by != By::Process,
            Column::User => by != By::User,
            Column::Left => by == By::Cgroup,
            _ => true,
        };
        if has && left > column.width() {
            left -= column.width() + 1;
            kept.push(column);
        }
    }
    ORDER.into_iter().filter(|column| kept.contains(column)).collect()
}

fn head(app: &App, width: usize) -> Vec<Line<'static>> {
    let frame = app.source.frame();
    let machine = &frame.machine;
    let (first, last) = app.source.span();
    let behind = last.as_millisecond() - frame.at.as_millisecond();
    let state = match (app.source.is_live(), app.paused) {
        (true, false) => "live".to_owned(),
        (true, true) if behind > 0 => format!("{:.1} s ago", behind as f64 / 1000.0),
        (_, true) => "paused".to_owned(),
        (false, false) => "playing".to_owned(),
    };
    let cost = match (app.cost.cpu_percent(), own_rss_bytes()) {
        (Some(cpu), Some(rss)) => format!("own cost {cpu:.1} % CPU, {}", rounded_size(rss)),
        _ => String::new(),
    };
    let length = (last.as_millisecond() - first.as_millisecond()) as f64 / 1000.0;
    let left = format!("{}  {state}  {}  of {length:.0} s", app.source.title(), time(frame.at));
    let memory = match (machine.total, machine.available) {
        (Some(total), Some(available)) => {
            let used = total.saturating_sub(available);
            let share = used as f64 / total.max(1) as f64;
            format!(
                "memory {} {} of {} ({:.0} %), {} available",
                bar(share, 16, app.utf8),
                rounded_size(used),
                rounded_size(total),
                share * 100.0,
                rounded_size(available)
            )
        }
        _ => "memory not known".to_owned(),
    };
    let swap = match (machine.swap_total, machine.swap_free) {
        (Some(0), _) => "no swap".to_owned(),
        (Some(total), Some(free)) => {
            format!("swap {} of {}", rounded_size(total.saturating_sub(free)), rounded_size(total))
        }
        _ => "swap not known".to_owned(),
    };
    let pressure = match machine.pressure {
        Some((some, full)) => {
            format!("pressure over 10 s: some {some:.1} %, full {full:.1} %")
        }
        None => "pressure not known".to_owned(),
    };
    let filter = app.choice.filter.as_ref();
    let filter = filter.map_or_else(String::new, |it| format!("  filter {}", it.as_str()));
    let third = format!("{swap}  {pressure}  {} processes{filter}", frame.processes.len());
    vec![
        styled(&ends(&left, &cost, width), Style::new().add_modifier(Modifier::BOLD)),
        Line::raw(clipped(&memory, width)),
        Line::raw(clipped(&third, width)),
    ]
}

/// Puts two texts at the two ends of a line; the second one only if there is room.
fn ends(left: &str, right: &str, width: usize) -> String {
    match left.width() + right.width() < width {
        true => format!("{left}{}{right}", " ".repeat(width - left.width() - right.width())),
        false => clipped(left, width),
    }
}

fn titles(app: &App, columns: &[Column], width: usize) -> Line<'static> {
    let mut text = String::new();
    let mark = match (app.utf8, app.choice.reverse) {
        (true, false) => '▼',
        (true, true) => '▲',
        (false, false) => 'v',
        (false, true) => '^',
    };
    for column in columns {
        let mut title = column.title().to_owned();
        if column.sort() == Some(app.choice.sort) {
            title.push(mark);
        }
        let width = column.width();
        match column {
            Column::User | Column::Minute => text.push_str(&format!("{title:<width$} ")),
            _ => text.push_str(&format!("{title:>width$} ")),
        }
    }
    let name = match app.choice.by {
        By::Process => "COMMAND",
        By::Role => "ROLE",
        By::Test => "TEST",
        By::Cgroup => "CONTROL GROUP",
        By::User => "USER",
    };
    text.push_str(name);
    if app.choice.sort == SortBy::Name {
        text.push(mark);
    }
    styled(&padded(&text, width), Style::new().add_modifier(Modifier::REVERSED))
}

fn line_of(
    app: &App,
    row: &Row,
    columns: &[Column],
    is_selected: bool,
    width: usize,
) -> Line<'static> {
    let base = match is_selected {
        true => Style::new().add_modifier(Modifier::REVERSED),
        false => Style::new(),
    };
    let dim = base.add_modifier(Modifier::DIM);
    let mut spans = Vec::new();
    let mut used = 0;
    for column in columns {
        let wide = column.width();
        let (text, style) = match column {
            Column::Pid => (row.pid.map_or_else(String::new, |pid| pid.to_string()), base),
            Column::Processes => (row.processes.to_string(), base),
            Column::User => (clipped(&printable(&row.user), wide), base),
            Column::Rss => (rounded_size(row.rss), base),
            Column::Pss | Column::Uss => {
                let sum = if *column == Column::Pss { row.pss } else { row.uss };
                (sum_text(sum, app.utf8), if row.pss_age_s > OLD_S { dim } else { base })
            }
            Column::Swap => (sum_text(row.swap, app.utf8), base),
            Column::Peak => (row.peak.map_or_else(|| "-".to_owned(), rounded_size), base),
            Column::Growth => growth(row, app, base),
            Column::Left => {
                (app.source.left_of(&row.name).map_or_else(|| "-".to_owned(), rounded_size), base)
            }
            Column::Minute => {
                let points = app.trail.points(&row.key);
                let span = app.trail.span().unwrap_or_default();
                let line = sparkline(&points, span, SPARKLINE, app.utf8);
                let color = if app.colors && !is_selected { base.fg(Color::Cyan) } else { base };
                (line, color)
            }
        };
        let text = match column {
            Column::User | Column::Minute => padded(&text, wide),
            _ => format!("{}{text}", " ".repeat(wide.saturating_sub(text.width()))),
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::styled(" ", base));
        used += wide + 1;
    }
    let room = width.saturating_sub(used);
    let indent = match (row.depth, app.utf8) {
        (0, _) => String::new(),
        (depth, utf8) => {
            format!("{}{} ", "  ".repeat(depth - 1), if utf8 { '└' } else { '\\' })
        }
    };
    let name = printable(&row.name);
    let name = match app.choice.by {
        By::Process => clipped(&format!("{indent}{}", without_directory(&name)), room),
        // What tells one group from another stands at the end of its path.
        By::Cgroup => end_of(&name, room),
        _ => clipped(&name, room),
    };
    let name = if is_selected { padded(&name, room) } else { name };
    spans.push(Span::styled(name, base));
    Line::from(spans)
}

fn growth(row: &Row, app: &App, base: Style) -> (String, Style) {
    match row.growth {
        None => ("-".to_owned(), base),
        // A page or two are noise.
        Some(bytes) if bytes.unsigned_abs() < 64 << 10 => ("0".to_owned(), base),
        Some(bytes) => {
            let sign = if bytes < 0 { '-' } else { '+' };
            let color = if app.colors && bytes > 0 { base.fg(Color::Yellow) } else { base };
            (format!("{sign}{}", rounded_size(bytes.unsigned_abs())), color)
        }
    }
}

fn sum_text(sum: Sum, utf8: bool) -> String {
    match (sum.known, sum.unknown) {
        (None, _) => "-".to_owned(),
        (Some(bytes), 0) => rounded_size(bytes),
        (Some(bytes), _) => format!("{}{}", if utf8 { "≥" } else { ">=" }, rounded_size(bytes)),
    }
}

fn foot_of(app: &App) -> Line<'static> {
    if let Some(typed) = &app.typed {
        let message = app.message.as_deref().unwrap_or("Enter: apply, Esc: leave as it was");
        return Line::raw(format!("filter: {}_   {message}", printable(typed)));
    }
    if let Some(message) = &app.message {
        return Line::raw(message.clone());
    }
    let tree = if app.choice.tree { ", tree" } else { "" };
    let text = format!(
        "?: help  q: quit  space: pause  b: by {}{tree}  s: sort by {}  /: filter  left, right: time",
        word(app.choice.by),
        word(app.choice.sort)
    );
    styled(&text, Style::new().add_modifier(Modifier::DIM))
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = KEYS.lines().map(Line::raw).collect();
    let width = KEYS.lines().map(UnicodeWidthStr::width).max().unwrap_or(0) + 2;
    let width = u16::try_from(width).unwrap_or(area.width).min(area.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(area.height).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("keys")), place);
}

/// The time of the day, in UTC.
fn time(at: jiff::Timestamp) -> String {
    let at = format!("{at:.1}");
    at.split_once('T').map_or_else(|| at.clone(), |(_, time)| time.to_owned())
}

/// Keeps the end of what takes more than so many columns.
fn end_of(text: &str, width: usize) -> String {
    match text.width() <= width {
        true => text.to_owned(),
        false => clipped(&format!("<{}", last(text, width.saturating_sub(1))), width),
    }
}

/// The word for a choice, as the command line has it.
fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn styled(text: &str, style: Style) -> Line<'static> {
    Line::from(Span::styled(text.to_owned(), style))
}

fn bar(share: f64, width: usize, utf8: bool) -> String {
    let full = ((share * width as f64).round() as usize).min(width);
    let (on, off) = if utf8 { ("█", "░") } else { ("#", ".") };
    format!("{}{}", on.repeat(full), off.repeat(width - full))
}

fn padded(text: &str, width: usize) -> String {
    let text = clipped(text, width);
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Leaves out the directory of the program of a command.
fn without_directory(command: &str) -> &str {
    let program = command.split(' ').next().unwrap_or_default();
    let directory = program.rfind('/').map_or(0, |slash| slash + 1);
    command.get(directory..).filter(|rest| !rest.is_empty()).unwrap_or(command)
}
