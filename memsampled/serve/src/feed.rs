//! What got worse, as an Atom feed (RFC 4287).

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::index::Notice;
use crate::link::Links;
use crate::wording::{page, sentence};

/// Returns the feed of notices, which are in the order of time, the last one first. Its links are relative to its own
/// address.
pub(crate) fn feed(
    links: &Links,
    store: &str,
    project: Option<&str>,
    notices: &[Notice],
) -> std::io::Result<Vec<u8>> {
    let updated = notices.iter().map(|notice| notice.found_ms).max().unwrap_or(0);
    let title = project.map_or("What got worse".to_owned(), |it| format!("What got worse in {it}"));
    let own = links.to("feed.atom", &[("project", project.unwrap_or(""))]);
    let id = memsample_store::sha256_hex(format!("{store}\0{}", project.unwrap_or("")).as_bytes());
    let mut writer = Writer::new(Vec::new());
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    let feed =
        writer.create_element("feed").with_attribute(("xmlns", "http://www.w3.org/2005/Atom"));
    feed.write_inner_content(|writer| {
        text(writer, "title", &title)?;
        text(writer, "id", &format!("urn:memsample:feed:{}", id.get(..32).unwrap_or_default()))?;
        text(writer, "updated", &instant(updated))?;
        text(writer, "generator", "memsample")?;
        writer
            .create_element("author")
            .write_inner_content(|writer| text(writer, "name", "memsample"))?;
        link(writer, "self", &own)?;
        for notice in notices {
            writer.create_element("entry").write_inner_content(|writer| {
                text(writer, "title", &sentence(notice))?;
                text(writer, "id", &format!("urn:memsample:notice:{}", notice.id))?;
                text(writer, "updated", &instant(notice.found_ms))?;
                text(writer, "published", &instant(notice.at_ms))?;
                writer
                    .create_element("category")
                    .with_attribute(("term", notice.kind.name()))
                    .write_empty()?;
                link(writer, "alternate", &page(notice, links))
            })?;
        }
        Ok(())
    })?;
    Ok(writer.into_inner())
}

fn text(writer: &mut Writer<Vec<u8>>, name: &str, text: &str) -> std::io::Result<()> {
    writer.create_element(name).write_text_content(BytesText::new(text)).map(drop)
}

fn link(writer: &mut Writer<Vec<u8>>, rel: &str, href: &str) -> std::io::Result<()> {
    let link = writer.create_element("link").with_attributes([("rel", rel), ("href", href)]);
    link.write_empty().map(drop)
}

fn instant(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
