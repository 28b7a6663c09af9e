//! The CRC hashes, as nutcracker computes them.

/// CCITT, polynomial 0x1021, most significant bit first.
const CRC16_TABLE: [u32; 256] = crc16_table();

const fn crc16_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc as u32;
        byte += 1;
    }
    table
}

/// nutcracker never cuts the register to 16 bits: what is shifted out stays in the upper half.
#[inline]
pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        (crc << 8) ^ CRC16_TABLE[((crc >> 8) as u8 ^ byte) as usize]
    })
}

pub(super) const CRC32_VALUES: u64 = 1 << 15;

/// Bits 16 to 30 of the CRC-32 only, so below [`CRC32_VALUES`]. Under ketama nearly every key then finds the same ring
/// point; that is nutcracker's behaviour too.
#[inline]
pub(super) fn crc32(key: &[u8]) -> u32 {
    (crc32a(key) >> 16) & (CRC32_VALUES as u32 - 1)
}

#[inline]
pub(super) fn crc32a(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crc16_by_bits(key: &[u8]) -> u16 {
        key.iter().fold(0, |crc: u16, &byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                (crc << 1) ^ if crc >> 15 == 1 { 0x1021 } else { 0 }
            })
        })
    }

    #[test]
    fn published_check_values() {
        assert_eq!(crc16(b"123456789") & 0xffff, 0x31c3);
        assert_eq!(crc32a(b"123456789"), 0xcbf43926);
        assert_eq!(crc32(b"123456789"), 0x4bf4);
    }

    proptest! {
        #[test]
        fn lower_half_of_crc16_is_the_textbook_value(key: Vec<u8>) {
            prop_assert_eq!(crc16(&key) as u16, crc16_by_bits(&key));
        }
    }
}
