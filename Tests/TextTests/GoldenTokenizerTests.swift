import TensorCore
import Testing
import Text

/// Every case of the reference implementation, exactly.
@Suite struct GoldenTokenizerTests {
    @Test(arguments: TokenizerCases.names) func encodes(_ name: String) throws {
        let golden = try TokenizerCases(name)
        #expect(golden.cases.count >= 240)
        for item in golden.cases {
            let text = try #require(item.object?["text"]?.string)
            let ids = try #require(item.integers("ids"))
            #expect(try golden.tokenizer.encode(text, addSpecialTokens: false) == ids, "\(text.debugDescription)")
            let special = item.integers("ids_with_special") ?? ids
            #expect(try golden.tokenizer.encode(text, addSpecialTokens: true) == special, "\(text.debugDescription)")
        }
    }

    @Test(arguments: TokenizerCases.names) func decodes(_ name: String) throws {
        let golden = try TokenizerCases(name)
        #expect(!golden.randomIDs.isEmpty)
        for item in golden.cases + golden.randomIDs {
            let ids = try #require(item.integers("ids"))
            let plain = golden.tokenizer.decode(ids, skipSpecialTokens: false)
            #expect(Array(plain.utf8) == item.bytes("decoded"), "\(ids)")
            let skipped = golden.tokenizer.decode(ids, skipSpecialTokens: true)
            #expect(Array(skipped.utf8) == item.bytes("decoded_skip_special"), "\(ids)")
        }
    }

    @Test(arguments: TokenizerCases.names) func streams(_ name: String) throws {
        let golden = try TokenizerCases(name)
        #expect(!golden.streams.isEmpty)
        for item in golden.streams {
            let ids = try #require(item.integers("ids"))
            let skips = item.object?["skip_special"]?.bool == true
            let chunks = try #require(item.object?["chunks"]?.array)
            var stream = StreamingDetokenizer(golden.tokenizer, skipSpecialTokens: skips)
            var all: [UInt8] = []
            for (id, chunk) in zip(ids, chunks) {
                let part = stream.append(id).map { Array($0.utf8) }
                #expect(part == chunk.string.map { Array($0.utf8) })
                all += part ?? []
            }
            all += Array(stream.finish().utf8)
            #expect(all == Array(golden.tokenizer.decode(ids, skipSpecialTokens: skips).utf8))
        }
    }
}
