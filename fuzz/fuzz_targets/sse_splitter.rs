//! Server-sent events: cuts neither lose nor change anything.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::sse::{Splitter, events};
use uni_api_fuzz::cuts;

fuzz_target!(|data: &[u8]| {
    let datas = cuts(data).map(|pieces| {
        let mut splitter = Splitter::default();
        let (mut bytes, mut datas) = (Vec::new(), Vec::new());
        let mut blocks: Vec<_> = pieces.into_iter().map(|piece| splitter.push(piece).unwrap()).collect();
        blocks.push(splitter.finish());
        for block in blocks {
            for event in events(&block) {
                bytes.extend_from_slice(event.raw);
                datas.extend(event.data.map(|data| data.into_owned()));
            }
        }
        assert_eq!(bytes, data);
        datas
    });
    assert_eq!(datas[0], datas[1]);
    assert_eq!(datas[0], datas[2]);
});
