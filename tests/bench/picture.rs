//! Pictures: one per scenario and family, with a panel per kind and a bar per arm, as SVG and as PNG.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use tests::statistics::Estimate;

use crate::options::{ArmName, Family, Kind, Scenario};
use crate::summary::{Cell, Row};
use crate::word::word;

type Drawn = Result<(), Box<dyn Error>>;
type Area<DB> = DrawingArea<DB, Shift>;

/// Debian's package fonts-dejavu-core.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const FAMILY: &str = "sans-serif";

const WIDTH: u32 = 900;
/// Heights of the title, of a panel without its bars, and of the line below.
const TITLE: u32 = 72;
const PANEL: u32 = 66;
const FOOTER: u32 = 34;
/// Where the bars of a panel begin, and how far it is from one to the next.
const BARS: i32 = 32;
const BAR: i32 = 26;
/// What is left free at the left, for the names at the left, and for the values at the right.
const MARGIN: i32 = 24;
const NAMES: i32 = 205;
const VALUES: i32 = 170;

const INK: RGBColor = RGBColor(38, 42, 48);
const FAINT: RGBColor = RGBColor(110, 117, 126);
const GRID: RGBColor = RGBColor(226, 229, 233);
/// One colour for who it is about, a lighter one for that with or without something, one for whom it is compared with, and one for the
/// kernel's own ways.
const NETDP: RGBColor = RGBColor(0, 114, 178);
const OTHERWISE: RGBColor = RGBColor(86, 180, 233);
const DOCKER: RGBColor = RGBColor(213, 94, 0);
const KERNEL: RGBColor = RGBColor(160, 168, 177);

/// What the picture of a scenario in a family is called, without the ending of its format.
pub(crate) fn name(scenario: Scenario, family: Family) -> String {
    format!("{}-ipv{}", word(&scenario), word(&family))
}

/// Draws every scenario into the folder, and says which files there are.
pub(crate) fn draw(output: &Path, rows: &[Row], footer: &str) -> Result<(), String> {
    draw_all(output, rows, footer).map_err(|error| error.to_string())
}

fn draw_all(output: &Path, rows: &[Row], footer: &str) -> Drawn {
    let font =
        fs::read(FONT).map_err(|error| format!("{FONT} (Debian package fonts-dejavu-core): {error}"))?;
    // It stays for the rest of the process, as the library wants it.
    register_font(FAMILY, FontStyle::Normal, font.leak()).map_err(|_| format!("{FONT} is no font"))?;
    for rows in rows.chunk_by(|a, b| (a.scenario, a.family) == (b.scenario, b.family)) {
        let path = output.join(name(rows[0].scenario, rows[0].family));
        let (svg, png) = (path.with_extension("svg"), path.with_extension("png"));
        let size = (WIDTH, height(rows));
        scene(&SVGBackend::new(&svg, size).into_drawing_area(), rows, footer)?;
        scene(&BitMapBackend::new(&png, size).into_drawing_area(), rows, footer)?;
        println!("{}\n{}", svg.display(), png.display());
    }
    Ok(())
}

fn height(rows: &[Row]) -> u32 {
    TITLE + FOOTER + rows.iter().map(panel_height).sum::<u32>()
}

fn panel_height(row: &Row) -> u32 {
    PANEL + BAR.unsigned_abs() * u32::try_from(row.cells.len()).unwrap_or(0)
}

fn scene<DB: DrawingBackend>(root: &Area<DB>, rows: &[Row], footer: &str) -> Drawn
where
    DB::ErrorType: 'static,
{
    root.fill(&WHITE)?;
    let (title, mut rest) = root.split_vertically(TITLE);
    let name = format!("{}, IPv{}", heading(rows[0].scenario), word(&rows[0].family));
    title.draw(&Text::new(name, (MARGIN, 16), text(24, INK)))?;
    title.draw(&Text::new(
        format!(
            "beside {}: a longer bar is better; the line is the 95 % confidence interval",
            wire(&rows[0])
        ),
        (MARGIN, 46),
        text(13, FAINT),
    ))?;
    let most = rows.iter().map(reach).fold(1.0, f64::max);
    for row in rows {
        let (area, below) = rest.split_vertically(panel_height(row));
        panel(&area, row, most)?;
        rest = below;
    }
    rest.draw(&Text::new(footer.to_owned(), (MARGIN, 8), text(12, FAINT)))?;
    Ok(root.present()?)
}

/// What the shares of a picture are of.
fn wire(row: &Row) -> &'static str {
    if row.wire() == ArmName::Uplink { "the host's uplink alone" } else { "the bare pair" }
}

fn reach(row: &Row) -> f64 {
    row.cells.iter().filter_map(|cell| row.share(cell)).map(|share| share.high).fold(0.0, f64::max)
}

/// Heading, grid and bars of one kind.
fn panel<DB: DrawingBackend>(area: &Area<DB>, row: &Row, most: f64) -> Drawn
where
    DB::ErrorType: 'static,
{
    let lower =
        if row.kind.unit().is_better_lower() { "; lower is better, so the bar is wire / arm" } else { "" };
    area.draw(&Text::new(format!("{}{lower}", kind(row.kind)), (MARGIN, 6), text(15, INK)))?;
    let bottom = BARS + i32::try_from(row.cells.len())? * BAR;
    for percent in (0..).step_by(step(most)).take_while(|percent| f64::from(*percent) <= most * 100.0) {
        let x = across(f64::from(percent) / 100.0, most);
        area.draw(&PathElement::new([(x, BARS), (x, bottom)], GRID))?;
        let label = text(11, FAINT).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(format!("{percent} %"), (x, bottom + 4), label))?;
    }
    let mut top = BARS;
    for cell in &row.cells {
        bar(area, row, cell, most, top)?;
        top += BAR;
    }
    Ok(())
}

/// Percent from one line of the grid to the next, so that there are ten at most.
fn step(most: f64) -> usize {
    let steps: [u16; 7] = [20, 50, 100, 200, 500, 1000, 5000];
    steps.into_iter().find(|step| most * 100.0 / f64::from(*step) <= 10.0).map_or(usize::MAX, usize::from)
}

/// The bar of one arm, its interval, its name before it and its value behind it.
fn bar<DB: DrawingBackend>(area: &Area<DB>, row: &Row, cell: &Cell, most: f64, top: i32) -> Drawn
where
    DB::ErrorType: 'static,
{
    let Some(Estimate { median, low, high }) = row.share(cell) else { return Ok(()) };
    let (above, middle, below) = (top + 4, top + BAR / 2, top + BAR - 4);
    let [zero, median_at, low_at, high_at] = [0.0, median, low, high].map(|share| across(share, most));
    area.draw(&Rectangle::new([(zero, above), (median_at, below)], colour(cell.arm).filled()))?;
    for ends in [
        [(low_at, middle), (high_at, middle)],
        [(low_at, middle - 4), (low_at, middle + 4)],
        [(high_at, middle - 4), (high_at, middle + 4)],
    ] {
        area.draw(&PathElement::new(ends, INK.stroke_width(1)))?;
    }
    let name = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(word(&cell.arm), (zero - 8, middle), name))?;
    let label = text(12, INK).pos(Pos::new(HPos::Left, VPos::Center));
    let unit = row.kind.unit();
    let share = format!("{:.0} %   {} {}", median * 100.0, unit.shown(cell.median), unit.short());
    Ok(area.draw(&Text::new(share, (median_at.max(high_at) + 8, middle), label))?)
}

/// Where a share of the wire is, from the left.
#[expect(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
fn across(share: f64, most: f64) -> i32 {
    let width = f64::from(WIDTH.cast_signed() - NAMES - VALUES);
    NAMES + (share / most * width).round() as i32
}

fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    let font: FontDesc<'static> = (FAMILY, size).into_font();
    TextStyle { font, color: colour.to_backend_color(), pos: Pos::default() }
}

fn colour(arm: ArmName) -> RGBColor {
    match arm {
        ArmName::Netdp => NETDP,
        ArmName::NetdpWithoutRedirectPeer | ArmName::NetdpWithoutKeptRoutes | ArmName::NetdpLargeMtu => {
            OTHERWISE
        }
        ArmName::Docker | ArmName::DockerNoproxy => DOCKER,
        ArmName::Veth
        | ArmName::Uplink
        | ArmName::Routed
        | ArmName::Bridge
        | ArmName::Nft
        | ArmName::NftFlowtable => KERNEL,
    }
}

fn heading(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::ContainerToContainer => "Container to container",
        Scenario::ContainerToOutside => "Container to outside",
        Scenario::OutsideToPublished => "Outside to a published port",
        Scenario::HostToLoopback => "Host to a published port on its loopback address",
        Scenario::HostToOwnAddress => "Host to a published port on its own address",
        Scenario::Hairpin => "Container to a port that its host publishes",
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::TcpRr => "TCP, one byte there and back (all on one processor)",
        Kind::UdpRr => "UDP, one byte there and back (all on one processor)",
        Kind::TcpCrr => "TCP, connect, one byte there and back, close (all on one processor)",
        Kind::TcpRrFree => "TCP, one byte there and back (on any processor)",
        Kind::TcpCrrFree => "TCP, connect, one byte there and back, close (on any processor)",
        Kind::TcpStream => "TCP, one stream (iperf3)",
        Kind::TcpStreamReverse => "TCP, one stream from server to client (iperf3)",
        Kind::TcpStreamParallel => "TCP, four streams (iperf3)",
        Kind::UdpRate => "UDP, 25 000 small datagrams per second: processor time for each",
        Kind::Http => "HTTP, 1 KiB, 16 connections that stay (wrk, nginx)",
        Kind::LatencyP50 => "TCP, 10 000 questions per second: how long half of them wait at most",
        Kind::LatencyP99 => "TCP, 10 000 questions per second: how long 99 % of them wait at most",
        Kind::LatencyP999 => "TCP, 10 000 questions per second: how long 99.9 % of them wait at most",
    }
}
