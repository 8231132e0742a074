//! Forms: cuts change nothing, and what is written reads as what was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uni_api::dialect::form::Scanner;
use uni_api_fuzz::cuts;

fuzz_target!(|data: &[u8]| {
    let scan = |boundary: &str, pieces: &[bytes::Bytes]| {
        let mut scanner = Scanner::new(boundary);
        pieces.iter().try_for_each(|piece| scanner.push(piece))?;
        scanner.finish()
    };
    let [whole, every_byte, pieces] = cuts(data).map(|pieces| scan("b", &pieces));
    assert_eq!(whole, every_byte);
    assert_eq!(whole, pieces);
    let Ok(form) = whole else { return };
    // No content has it: it is longer than any input may be.
    let boundary = "x".repeat(data.len() + 1);
    let written = scan(&boundary, &form.write(&boundary, ("model", "m"))).unwrap();
    assert_eq!(written.text("model").unwrap(), "m");
    let again = scan(&boundary, &written.write(&boundary, ("model", "m"))).unwrap();
    assert_eq!(again, written);
});
