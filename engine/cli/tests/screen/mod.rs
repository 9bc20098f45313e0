//! What a person sees of a program's output: the screen of a terminal, and what scrolled off it.

/// A terminal that knows what our programs use: line feeds, carriage returns, "cursor up",
/// "erase in display" to the end, and colours, which it does not show.
#[derive(Debug)]
pub(crate) struct Screen {
    columns: usize,
    rows: usize,
    /// All rows, those that have scrolled off first.
    lines: Vec<Vec<char>>,
    /// Of the cursor, counted from the first of `lines`.
    row: usize,
    column: usize,
}

impl Screen {
    /// What `output` looks like in a window of this size.
    pub(crate) fn of(output: &str, columns: usize, rows: usize) -> Self {
        let mut screen = Self { columns, rows, lines: vec![Vec::new()], row: 0, column: 0 };
        let mut rest = output.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => screen.column = 0,
                '\n' => screen.down(),
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['), "an unknown sequence in {output:?}");
                    let mut number = String::new();
                    let last = rest.find(|c| {
                        number.push(*c);
                        c.is_ascii_alphabetic()
                    });
                    number.pop();
                    screen.control(last.unwrap(), number.parse().unwrap_or(1));
                }
                other => screen.put(other),
            }
        }
        screen
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.columns {
            self.column = 0;
            self.down();
        }
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = character;
        self.column += 1;
    }

    fn control(&mut self, last: char, number: usize) {
        match last {
            // What has scrolled off is out of reach.
            'A' => self.row = (self.row - number).max(self.lines.len().saturating_sub(self.rows)),
            'J' => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
            }
            'm' => {}
            other => panic!("an unknown sequence: {other}"),
        }
    }

    /// Its rows without blanks at their ends.
    pub(crate) fn text(&self) -> Vec<String> {
        let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        self.lines.iter().map(text).collect()
    }
}
