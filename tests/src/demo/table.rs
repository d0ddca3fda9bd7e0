//! The tables that kubectl prints, and what is new in them.

use std::collections::BTreeMap;

/// Rows by the object's name, without the age that ends each.
#[derive(Default)]
pub(super) struct Table(BTreeMap<String, String>);

impl Table {
    /// The rows of `said` that differ from those known, under their headings, and what is gone. Takes
    /// `said` as known.
    pub(super) fn news(&mut self, said: &str) -> String {
        let (mut news, mut rows, mut heading) = (String::new(), BTreeMap::new(), None);
        for line in said.lines() {
            if line.starts_with("NAME ") {
                heading = Some(line);
                continue;
            }
            let Some((row, _age)) = line.trim_end().rsplit_once(' ') else {
                continue;
            };
            let name = row.split_whitespace().next().unwrap_or_default().to_owned();
            // Columns get wider and narrower with their widest value.
            let values: Vec<&str> = row.split_whitespace().collect();
            let values = values.join(" ");
            if self.0.get(&name) != Some(&values) {
                news.extend(heading.take().into_iter().flat_map(|h| [h, "\n"]));
                news.extend([line, "\n"]);
            }
            rows.insert(name, values);
        }
        for name in self.0.keys().filter(|name| !rows.contains_key(*name)) {
            news.extend(["(gone) ", name, "\n"]);
        }
        self.0 = rows;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn only_news_is_told() {
        let mut table = Table::default();
        let first = "NAME   HEALTHY   AGE\na/x    False     1s\n\nNAME  STATE  AGE\nb/y   Active 2s\n";
        assert_eq!(table.news(first), first.replace("\n\n", "\n"));
        assert_eq!(table.news(&first.replace("1s", "3s")), "");
        let later = "NAME    HEALTHY   AGE\na/x     True      9s\n";
        assert_eq!(table.news(later), format!("{later}(gone) b/y\n"));
    }
}
