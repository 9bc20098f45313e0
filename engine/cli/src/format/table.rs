//! Columns: text with tabs becomes text with spaces, as Go's `text/tabwriter` does it.

/// The narrowest column, in characters.
const MIN_WIDTH: usize = 10;

/// Characters between a column's widest cell and the next column.
const PADDING: usize = 3;

/// Aligns the cells of `text`, which end at tabs; what follows the last tab of a line is in no
/// column. A column lasts as long as lines beside each other have it.
pub(crate) fn align(text: &str) -> String {
    align_at_least(text, MIN_WIDTH)
}

/// The same with columns of at least `narrowest` characters.
pub(crate) fn align_at_least(text: &str, narrowest: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len() - 1]).collect();
    measure(&lines, &mut widths, narrowest, 0, 0..lines.len());
    let mut out = String::with_capacity(text.len() * 2);
    for (index, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            let fill = width.saturating_sub(cell.chars().count());
            out.extend(std::iter::repeat_n(' ', fill));
        }
        out.push_str(line.last().copied().unwrap_or_default());
    }
    out
}

/// Finds the widths of column `column` and those right of it within `range` of lines.
fn measure(
    lines: &[Vec<&str>],
    widths: &mut [Vec<usize>],
    narrowest: usize,
    column: usize,
    range: std::ops::Range<usize>,
) {
    let mut start = range.start;
    while start < range.end {
        if lines[start].len() <= column + 1 {
            start += 1;
            continue;
        }
        let block = (start..range.end).take_while(|line| lines[*line].len() > column + 1);
        let end = block.last().map_or(start + 1, |last| last + 1);
        let widest = lines[start..end].iter().map(|line| line[column].chars().count()).max();
        let width = narrowest.max(widest.unwrap_or(0) + PADDING);
        for widths in &mut widths[start..end] {
            widths[column] = width;
        }
        measure(lines, widths, narrowest, column + 1, start..end);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_line_up_as_in_docker() {
        assert_eq!(
            align("DRIVER\tVOLUME NAME\nlocal\tvol1\n"),
            "DRIVER    VOLUME NAME\nlocal     vol1\n"
        );
        assert_eq!(
            align("REPOSITORY:TAG\tSIZE\nbusybox:latest\t2MB\nexample.com/foo/bar:1.0\t2MB\n"),
            "REPOSITORY:TAG            SIZE\nbusybox:latest            2MB\n\
             example.com/foo/bar:1.0   2MB\n"
        );
        assert_eq!(
            align("A\tB\tC\nlong long long\t\tc\n"),
            "A                B         C\nlong long long             c\n"
        );
        assert_eq!(align("no tabs\n"), "no tabs\n");
        // A line without the column ends it: the blocks have widths of their own.
        assert_eq!(align("wide wide wide\tx\n\na\tb\n"), "wide wide wide   x\n\na         b\n");
    }
}
