import TensorCore
import TestSupport
import Testing
import Text

/// Every case of the reference implementations, exactly.
@Suite struct GoldenTokenizerTests {
    @Test func findsTheFixtures() { #expect(TokenizerCases.names.count >= 22) }

    @Test(arguments: TokenizerCases.names) func encodes(_ name: String) throws {
        let golden = try TokenizerCases(name)
        #expect(golden.cases.count >= 240)
        for item in golden.cases {
            let text = try #require(item.object?["text"]?.string)
            let ids = try #require(item.integers("ids"))
            #expect(try golden.tokenizer.encode(text, addSpecialTokens: false) == ids, "\(text.debugDescription)")
            guard golden.document["reference"]?.string == "tokenizers" else { continue }
            let special = item.integers("ids_with_special") ?? ids
            #expect(try golden.tokenizer.encode(text, addSpecialTokens: true) == special, "\(text.debugDescription)")
        }
    }

    @Test(arguments: TokenizerCases.names) func encodesSpecialTokensAsText(_ name: String) throws {
        let golden = try TokenizerCases(name)
        for item in golden.cases {
            guard let ids = item.integers("ids_specials_as_text") else { continue }
            let text = try #require(item.object?["text"]?.string)
            let found = try golden.tokenizer.encode(text, addSpecialTokens: false, specialsAsText: true)
            #expect(found == ids, "\(text.debugDescription)")
        }
    }

    @Test(arguments: TokenizerCases.names) func namesPieces(_ name: String) throws {
        let golden = try TokenizerCases(name)
        for item in golden.cases {
            guard let pieces = item.object?["pieces"]?.array else { continue }
            let text = try #require(item.object?["text"]?.string)
            let found = try golden.tokenizer.encodePieces(text, addSpecialTokens: false)
            #expect(found.map(\.id) == item.integers("ids"))
            #expect(found.map { Array($0.piece.utf8) } == pieces.map { Array(($0.string ?? "").utf8) })
        }
    }

    /// SentencePiece's own beginning and end, as tokenizer_config.json asks for them.
    @Test(arguments: TokenizerCases.names) func addsBeginningAndEnd(_ name: String) throws {
        let golden = try TokenizerCases(name)
        guard golden.cases.contains(where: { $0.integers("ids_bos_eos") != nil }) else { return }
        let folder = Fixtures.path("tokenizers/\(name)")
        let tokenizer = try Tokenizer(folder: folder) { (file) throws(LaminaError) in
            switch file {
            case "tokenizer.model": try RealFileSystem().readWhole(folder + "/" + file, limit: 1 << 24)
            case "tokenizer_config.json": Array(#"{"add_bos_token":true,"add_eos_token":true}"#.utf8)
            default: nil
            }
        }
        for item in golden.cases {
            let text = try #require(item.object?["text"]?.string)
            let ids = try #require(item.integers("ids_bos_eos"))
            #expect(try tokenizer?.encode(text, addSpecialTokens: true) == ids, "\(text.debugDescription)")
        }
    }

    @Test(arguments: TokenizerCases.names) func decodes(_ name: String) throws {
        let golden = try TokenizerCases(name)
        for item in golden.cases + golden.list("decode_random_ids") {
            let ids = try #require(item.integers("ids"))
            let plain = golden.tokenizer.decode(ids, skipSpecialTokens: false)
            #expect(Array(plain.utf8) == item.bytes("decoded"), "\(ids)")
            guard let expected = item.bytes("decoded_skip_special") else { continue }
            let skipped = golden.tokenizer.decode(ids, skipSpecialTokens: true)
            #expect(Array(skipped.utf8) == expected, "\(ids)")
        }
        for item in golden.cases {
            guard let ids = item.integers("ids_with_special") else { continue }
            let plain = golden.tokenizer.decode(ids, skipSpecialTokens: false)
            #expect(Array(plain.utf8) == item.bytes("decoded_with_special"), "\(ids)")
        }
    }

    @Test(arguments: TokenizerCases.names) func streams(_ name: String) throws {
        let golden = try TokenizerCases(name)
        for item in golden.list("stream") {
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

    /// Parts of a stream make the whole text whatever the decoder looks at.
    @Test(arguments: TokenizerCases.names) func streamsEveryText(_ name: String) throws {
        let golden = try TokenizerCases(name)
        for item in golden.cases {
            let ids = try #require(item.integers("ids"))
            var stream = StreamingDetokenizer(golden.tokenizer, skipSpecialTokens: false)
            var all = ids.compactMap { stream.append($0) }.joined()
            all += stream.finish()
            #expect(Array(all.utf8) == Array(golden.tokenizer.decode(ids, skipSpecialTokens: false).utf8))
        }
    }
}
