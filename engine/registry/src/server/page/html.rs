//! Text for a browser: what comes from outside is text, never markup.

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup of our own.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text from anywhere, also within a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // What would turn the direction of what follows is shown as what it is.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    self.0.extend(character.escape_unicode());
                }
                other => self.0.push(other),
            }
        }
        self
    }

    /// Adds a cell of a table.
    pub(super) fn cell(&mut self, text: &str) -> &mut Self {
        self.raw("<td>").text(text).raw("</td>")
    }

    /// Adds a cell with a link. `address` is one of ours, encoded.
    pub(super) fn link_cell(&mut self, address: &str, text: &str) -> &mut Self {
        self.raw("<td><a href=\"").text(address).raw("\">").text(text).raw("</a></td>")
    }

    /// Adds text that a click selects.
    pub(super) fn copyable(&mut self, text: &str) -> &mut Self {
        self.raw("<code class=\"copy\">").text(text).raw("</code>")
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A number of bytes, as Docker writes it.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.text("<script>\"'&\u{202e}");
        assert_eq!(html.finish(), "&lt;script&gt;&quot;&#39;&amp;\\u{202e}");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
