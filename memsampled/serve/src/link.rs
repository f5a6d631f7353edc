//! Links between pages. Names stand in the query, since they may have any characters.

use form_urlencoded::Serializer;

/// Links below the prefix of a reverse proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    prefix: String,
}

impl Links {
    /// Makes links below a prefix, which begins with a slash and does not end with one, or is empty.
    pub(crate) fn new(prefix: &str) -> Self {
        let trimmed = prefix.trim_matches('/');
        Self { prefix: if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") } }
    }

    /// Returns the prefix.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the link to a page with what it is to show. What is empty is left out.
    pub(crate) fn to(&self, page: &str, query: &[(&str, &str)]) -> String {
        let mut serializer = Serializer::new(String::new());
        for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            serializer.append_pair(key, value);
        }
        let query = serializer.finish();
        let question = if query.is_empty() { "" } else { "?" };
        format!("{}/{page}{question}{query}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_link() {
        let links = Links::new("/lab/");
        assert_eq!(links.to("", &[]), "/lab/");
        let link = links.to("test", &[("test", "<a b>&/?=ü"), ("role", "")]);
        assert_eq!(link, "/lab/test?test=%3Ca+b%3E%26%2F%3F%3D%C3%BC");
        assert_eq!(Links::new("").to("runs", &[]), "/runs");
    }
}
