//! Plain tables: aligned columns, no lines, one row per line, so that people and `awk` can read them.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::one_line;

/// What stands where there is nothing, so that the columns of a row can be counted.
const NOTHING: &str = "-";

/// A table under a line of headers. With no rows the headers stand alone.
pub(super) fn with_headers<const N: usize>(headers: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.set_header(headers);
    for row in rows {
        table.add_row(row.map(|text| cell(&text)));
    }
    lay_out(table)
}

/// A list of names and values.
pub(super) fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    for (name, value) in fields {
        table.add_row([Cell::new(name), cell(&value)]);
    }
    lay_out(table)
}

fn cell(text: &str) -> Cell {
    let text = one_line(text);
    Cell::new(if text.is_empty() { NOTHING } else { &text })
}

fn lay_out(mut table: Table) -> String {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Left);
    }
    table.trim_fmt()
}
