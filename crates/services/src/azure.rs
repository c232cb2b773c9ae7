//! The part of the protocol of Azure block blobs that the clients use: which request is meant, and
//! the list of blocks. Pure.

use crate::error::{Result, ServiceError};

/// Longest name of a block, in bytes; Azure allows 64 before Base64.
const MAX_BLOCK: usize = 128;
/// Most blocks of one blob; the limit of Azure.
const MAX_BLOCKS: usize = 50_000;

/// What a PUT on a blob means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobRequest {
    /// One block of a block blob (`comp=block`).
    Block(String),
    /// The list of blocks that is the content (`comp=blocklist`).
    BlockList,
    /// The whole content at once.
    Whole,
    /// An empty blob to append to.
    CreateAppend,
    /// A block at the end (`comp=appendblock`).
    Append,
}

impl BlobRequest {
    /// Reads it from `comp`, `blockid` and the header `x-ms-blob-type`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(comp: Option<&str>, block: Option<&str>, blob_type: Option<&str>) -> Result<Self> {
        match (comp, block, blob_type) {
            (Some("block"), Some(block), _) if (1..=MAX_BLOCK).contains(&block.len()) => {
                Ok(Self::Block(block.to_owned()))
            }
            (Some("block"), ..) => Err(ServiceError::invalid("'blockid' is missing or too long")),
            (Some("blocklist"), ..) => Ok(Self::BlockList),
            (Some("appendblock"), ..) => Ok(Self::Append),
            (None, _, Some("AppendBlob")) => Ok(Self::CreateAppend),
            (None, _, Some("BlockBlob")) => Ok(Self::Whole),
            (None, ..) => {
                Err(ServiceError::invalid("the header x-ms-blob-type is not BlockBlob or AppendBlob"))
            }
            (Some(other), ..) => {
                Err(ServiceError::invalid(format!("'comp={}' is not offered here", other.escape_debug())))
            }
        }
    }
}

/// The names in a list of blocks (`<BlockList><Latest>…</Latest>…</BlockList>`), in order.
///
/// # Errors
/// `Invalid` if it is none.
pub fn block_list(xml: &str) -> Result<Vec<String>> {
    let bad = || ServiceError::invalid("the body is not a list of blocks");
    let (_, mut rest) = xml.split_once("<BlockList").ok_or_else(bad)?;
    let (attributes, inner) = rest.split_once('>').ok_or_else(bad)?;
    if attributes.ends_with('/') {
        return Ok(Vec::new());
    }
    rest = inner;
    let mut blocks = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.starts_with("</BlockList>") {
            return Ok(blocks);
        }
        let (tag, after) = rest.strip_prefix('<').and_then(|r| r.split_once('>')).ok_or_else(bad)?;
        if !matches!(tag, "Latest" | "Uncommitted" | "Committed") || blocks.len() == MAX_BLOCKS {
            return Err(bad());
        }
        let (name, after) = after.split_once("</").ok_or_else(bad)?;
        rest = after.strip_prefix(tag).and_then(|r| r.strip_prefix('>')).ok_or_else(bad)?;
        let name = name.trim();
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b);
        if !(1..=MAX_BLOCK).contains(&name.len()) || !name.bytes().all(base64) {
            return Err(bad());
        }
        blocks.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_blocks() {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><BlockList>\n<Latest>YQ==</Latest>\
                   <Uncommitted> Yg== </Uncommitted>\n</BlockList>";
        assert_eq!(block_list(xml).unwrap(), ["YQ==", "Yg=="]);
        assert!(block_list("<BlockList/>").unwrap().is_empty());
        assert!(block_list("<BlockList></BlockList>").unwrap().is_empty());
        for bad in [
            "",
            "<BlockList>",
            "<BlockList><Latest>a",
            "<BlockList><Latest>a</Oldest></BlockList>",
            "<BlockList><Other>a</Other></BlockList>",
            "<BlockList><Latest></Latest></BlockList>",
            "<BlockList><Latest>&amp;</Latest></BlockList>",
            "<BlockList><Latest>../x</Latest></BlockList>",
        ] {
            assert!(block_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_put_means() {
        let parse = BlobRequest::parse;
        assert_eq!(parse(Some("block"), Some("YQ=="), None).unwrap(), BlobRequest::Block("YQ==".to_owned()));
        assert_eq!(parse(None, None, Some("BlockBlob")).unwrap(), BlobRequest::Whole);
        assert_eq!(parse(Some("blocklist"), None, None).unwrap(), BlobRequest::BlockList);
        assert!(parse(Some("block"), None, None).is_err());
        assert!(parse(Some("acl"), None, None).is_err());
        assert!(parse(None, None, Some("PageBlob")).is_err());
    }
}
