//! Tables of plain text.

/// Rows as lines whose cells begin in the same columns, two spaces apart. All rows have the same number of cells.
pub fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn cells_begin_in_the_same_columns() {
        let rows = [["task", "acc"], ["é", "0.5"], ["longer", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "task    acc\né       0.5\nlonger\n");
        assert_eq!(columns(&[]), "");
    }
}
