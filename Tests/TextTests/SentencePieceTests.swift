import TensorCore
import TestSupport
import Testing
import Text

/// Writes protocol buffers.
struct ProtobufWriter {
    private(set) var bytes: [UInt8] = []

    private mutating func number(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(value & 0x7F) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    mutating func integer(_ field: UInt64, _ value: UInt64) {
        number(field << 3)
        number(value)
    }

    mutating func float(_ field: UInt64, _ value: Float) {
        number(field << 3 | 5)
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift))
        }
    }

    mutating func bytes(_ field: UInt64, _ value: [UInt8]) {
        number(field << 3 | 2)
        number(UInt64(value.count))
        bytes += value
    }
}

/// A small SentencePiece model whose parts can be changed.
struct SmallSentencePiece {
    struct Piece {
        var text: String
        var score: Float = 0
        var kind: UInt64 = 1
    }

    var pieces = [
        Piece(text: "<unk>", kind: 2), Piece(text: "<s>", kind: 3), Piece(text: "</s>", kind: 3),
        Piece(text: "▁", score: -1), Piece(text: "a", score: -2), Piece(text: "b", score: -3),
        Piece(text: "ab", score: -0.5), Piece(text: "▁ab", score: -0.4), Piece(text: "<x>", kind: 4),
    ]
    var modelType: UInt64 = 2
    var normalizer = ProtobufWriter()
    var more: [UInt8] = []

    var bytes: [UInt8] {
        var file = ProtobufWriter()
        for piece in pieces {
            var message = ProtobufWriter()
            message.bytes(1, Array(piece.text.utf8))
            message.float(2, piece.score)
            message.integer(3, piece.kind)
            file.bytes(1, message.bytes)
        }
        var trainer = ProtobufWriter()
        trainer.integer(3, modelType)
        file.bytes(2, trainer.bytes)
        file.bytes(3, normalizer.bytes)
        return file.bytes + more
    }

    func load(_ config: String? = nil) throws -> Tokenizer {
        try SmallSentencePiece.load(bytes, config)
    }

    static func load(_ bytes: [UInt8], _ config: String? = nil) throws -> Tokenizer {
        let tokenizer = try Tokenizer(folder: "folder") { (name) throws(LaminaError) in
            switch name {
            case "tokenizer.model": bytes
            case "tokenizer_config.json": config.map { Array($0.utf8) }
            default: nil
            }
        }
        return try #require(tokenizer)
    }
}

@Suite struct SentencePieceTests {
    @Test(arguments: [1, 2] as [UInt64]) func encodes(_ modelType: UInt64) throws {
        let tokenizer = try SmallSentencePiece(modelType: modelType).load()
        #expect(try tokenizer.encode("ab  b<x>a", addSpecialTokens: true) == [1, 7, 3, 5, 8, 4])
        #expect(try tokenizer.encode("zzab", addSpecialTokens: false) == [3, 0, 6])
        #expect(tokenizer.decode([1, 7, 3, 5, 8, 4, 2, 0], skipSpecialTokens: false) == "ab b<x>a \u{2047} ")
        let pieces = try tokenizer.encodePieces("zzab", addSpecialTokens: false)
        #expect(pieces.map(\.piece) == ["▁", "zz", "ab"])
    }

    @Test func takesTokensFromTheConfig() throws {
        let config = """
            {"add_bos_token":false,"add_eos_token":true,"eos_token":{"content":"</s>"},"bos_token":"<s>",
            "added_tokens_decoder":{"9":{"content":"<|user|>","rstrip":true,"special":true}}}
            """
        let tokenizer = try SmallSentencePiece().load(config)
        #expect(try tokenizer.encode("<s>ab<|user|> ab", addSpecialTokens: true) == [1, 7, 9, 7, 2])
        #expect(tokenizer.decode([7, 9], skipSpecialTokens: false) == "ab<|user|>")
        #expect(tokenizer.decode([7, 9], skipSpecialTokens: true) == "ab")
        #expect(tokenizer.vocabularySize == 10)
        let asText = try tokenizer.encode("<s>", addSpecialTokens: false, specialsAsText: true)
        #expect(asText == [3, 0])
    }

    /// InternLM2 gives names to pieces that were left unused.
    @Test func takesNamesOfPiecesFromTheConfig() throws {
        let config = #"{"added_tokens_decoder":{"5":{"content":"<|im_end|>","special":true}},"bos_token":"<s>"}"#
        let tokenizer = try SmallSentencePiece().load(config)
        #expect(tokenizer.id(ofToken: "<|im_end|>") == 5)
        #expect(tokenizer.token(ofID: 5) == "<|im_end|>")
        #expect(try tokenizer.encode("ab<|im_end|>", addSpecialTokens: true) == [1, 7, 5])
        #expect(tokenizer.decode([1, 7, 5], skipSpecialTokens: false) == "<s> ab<|im_end|>")
        #expect(tokenizer.decode([1, 7, 5], skipSpecialTokens: true) == "ab")
    }

    @Test func knowsChatGLM() throws {
        let tokenizer = try SmallSentencePiece().load(#"{"tokenizer_class":"ChatGLMTokenizer"}"#)
        #expect(try tokenizer.encode("ab", addSpecialTokens: true) == [10, 12, 7])
        #expect(try tokenizer.encode("[gMASK]sop<|user|>", addSpecialTokens: false) == [10, 12, 15])
        #expect(try !tokenizer.encode("asopa", addSpecialTokens: false).contains(12))
    }

    /// A change that must be refused, and a part of the message.
    static let bad: [(String, @Sendable (inout SmallSentencePiece) -> Void)] = [
        ("no piece is marked as unknown", { $0.pieces[0].kind = 1 }),
        ("two unknown pieces", { $0.pieces[1].kind = 2 }),
        ("piece 3 is empty", { $0.pieces[3].text = "" }),
        ("occurs twice", { $0.pieces[5].text = "a" }),
        ("piece 4 is marked as a byte, but byte_fallback is off", { $0.pieces[4].kind = 6 }),
        ("piece 4 is marked as unused", { $0.pieces[4].kind = 5 }),
        ("piece 4 has a type", { $0.pieces[4].kind = 7 }),
        ("score that is no number", { $0.pieces[4].score = .nan }),
        ("model_type 3 is not supported", { $0.modelType = 3 }),
        ("too long", { $0.pieces[4].text = String(repeating: "x", count: 600) }),
        ("the character map is cut off", { $0.normalizer.bytes(2, [1, 2]) }),
        ("bad size", { $0.normalizer.bytes(2, [255, 255, 255, 255, 0, 0]) }),
        ("reaches past the end", { $0.more = [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F] }),
        ("does not end", { $0.more = [0x0A, 0xFF] }),
        ("number is too long", { $0.more = [UInt8](repeating: 0xFF, count: 12) }),
        ("wire type 3", { $0.more = [0x0B] }), ("field number", { $0.more = [0x00, 0x00] }),
    ]

    @Test(arguments: bad.indices) func refuses(_ index: Int) throws {
        var small = SmallSentencePiece()
        Self.bad[index].1(&small)
        let bytes = small.bytes
        let error = try #require(throws: LaminaError.self) { try SmallSentencePiece.load(bytes) }
        #expect(error.kind == .malformed)
        #expect(error.subject == "folder/tokenizer.model")
        #expect(error.description.contains(Self.bad[index].0), "\(error)")
    }

    /// Damaged files must be refused or work, never crash.
    @Test(arguments: ["sp-bpe-nodummy", "sp-unigram-nfkc"]) func survivesMutations(_ name: String) throws {
        let original = try Fixtures.bytes("tokenizers/\(name)/tokenizer.model")
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<60 {
            var bytes = original
            for _ in 0...Int(generator.next() % 3) {
                let position = Int(generator.next() % UInt64(bytes.count))
                switch generator.next() % 3 {
                case 0: bytes[position] = UInt8(truncatingIfNeeded: generator.next())
                case 1: bytes.remove(at: position)
                default: bytes.removeLast(bytes.count - position)
                }
                if bytes.isEmpty { break }
            }
            guard let tokenizer = try? SmallSentencePiece.load(bytes) else { continue }
            let ids = try tokenizer.encode("The ﬁrst  字 <|im_start|>\n\u{0}", addSpecialTokens: true)
            _ = tokenizer.decode(ids, skipSpecialTokens: false)
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["sp-bpe-llama", "sp-unigram-bytefallback"])
    func encodesAMegabyteWithoutASpace(_ name: String) throws {
        let tokenizer = try TokenizerCases.tokenizer(name)
        for unit in ["a", "abc", "中"] {
            let text = String(repeating: unit, count: 1_000_000 / unit.utf8.count)
            let ids = try tokenizer.encode(text, addSpecialTokens: false)
            #expect(tokenizer.decode(ids, skipSpecialTokens: false).utf8.count == text.utf8.count)
        }
    }
}
