import TensorCore

/// A SentencePiece `tokenizer.model`: the fields of its ModelProto that change what it does.
struct SentencePieceFile {
    enum ModelKind { case unigram, bytePair }

    enum PieceKind: UInt64 {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    struct Piece {
        var bytes: [UInt8] = []
        var score: Float = 0
        var kind = PieceKind.normal
    }

    /// What a NormalizerSpec says.
    struct Normalization: Sendable {
        var characterMap: ArraySlice<UInt8> = []
        var addsDummyPrefix = true
        var removesExtraWhitespace = true
        var escapesWhitespace = true
    }

    private(set) var pieces: [Piece] = []
    private(set) var model = ModelKind.unigram
    private(set) var normalization = Normalization()
    /// Applied to decoded text, if there is a character map.
    private(set) var denormalization = Normalization()
    private(set) var fallsBackToBytes = false
    /// Whether the dummy prefix is a suffix.
    private(set) var treatsWhitespaceAsSuffix = false
    /// What the unknown token decodes to.
    private(set) var unknownSurface = Array(" \u{2047} ".utf8)
    private var beginName = Array("<s>".utf8)
    private var endName = Array("</s>".utf8)
    private(set) var unknown = -1

    /// Throws `.malformed` if the file is damaged, or not supported.
    init(_ bytes: [UInt8]) throws(LaminaError) {
        var reader = ProtobufReader(bytes[...])
        while let (number, value) = try reader.next() {
            switch (number, value.bytes) {
            case (1, let message?): pieces.append(try SentencePieceFile.piece(message, pieces.count))
            case (2, let message?): try readTrainer(message)
            case (3, let message?): try SentencePieceFile.read(message, into: &normalization)
            case (5, let message?): try SentencePieceFile.read(message, into: &denormalization)
            default: break
            }
            guard pieces.count <= Vocabulary.maximumSize else {
                throw LaminaError(.malformed, "", "more than \(Vocabulary.maximumSize) pieces")
            }
        }
        try check()
    }

    /// Whether a file looks like one, to tell it from a rank file of the same name: it starts with a piece.
    static func isOne(_ bytes: [UInt8]) -> Bool { bytes.first == 0x0A }

    private static func piece(_ message: ArraySlice<UInt8>, _ id: Int) throws(LaminaError) -> Piece {
        var piece = Piece()
        var reader = ProtobufReader(message)
        while let (number, value) = try reader.next() {
            switch number {
            case 1: piece.bytes = Array(value.bytes ?? [])
            case 2: piece.score = value.float ?? 0
            case 3:
                guard let kind = value.integer.flatMap(PieceKind.init) else {
                    throw LaminaError(.malformed, "", "piece \(id) has a type that is not supported")
                }
                piece.kind = kind
            default: break
            }
        }
        guard !piece.bytes.isEmpty, String(validating: piece.bytes, as: UTF8.self) != nil else {
            throw LaminaError(.malformed, "", "piece \(id) is empty or not UTF-8")
        }
        guard piece.score.isFinite else {
            throw LaminaError(.malformed, "", "piece \(id) has a score that is no number")
        }
        return piece
    }

    private mutating func readTrainer(_ message: ArraySlice<UInt8>) throws(LaminaError) {
        var reader = ProtobufReader(message)
        while let (number, value) = try reader.next() {
            switch number {
            case 3: model = try SentencePieceFile.kind(value.integer)
            case 24: treatsWhitespaceAsSuffix = value.bool ?? false
            case 35: fallsBackToBytes = value.bool ?? false
            case 44: unknownSurface = Array(value.bytes ?? [])
            case 46: if let name = value.bytes, !name.isEmpty { beginName = Array(name) }
            case 47: if let name = value.bytes, !name.isEmpty { endName = Array(name) }
            default: break
            }
        }
    }

    private static func kind(_ value: UInt64?) throws(LaminaError) -> ModelKind {
        switch value {
        case 1: .unigram
        case 2: .bytePair
        default:
            throw LaminaError(
                .malformed, "", "trainer_spec.model_type \(value.map(String.init) ?? "?") is not supported",
                expected: "UNIGRAM (1) or BPE (2)")
        }
    }

    private static func read(_ message: ArraySlice<UInt8>, into result: inout Normalization) throws(LaminaError) {
        var reader = ProtobufReader(message)
        while let (number, value) = try reader.next() {
            switch number {
            case 2: result.characterMap = value.bytes ?? []
            case 3: result.addsDummyPrefix = value.bool ?? true
            case 4: result.removesExtraWhitespace = value.bool ?? true
            case 5: result.escapesWhitespace = value.bool ?? true
            default: break
            }
        }
    }

    private mutating func check() throws(LaminaError) {
        var bytes = Set<UInt8>()
        for (id, piece) in pieces.enumerated() {
            if piece.kind == .unknown {
                guard unknown < 0 else { throw LaminaError(.malformed, "", "two unknown pieces, \(unknown) and \(id)") }
                unknown = id
            }
            if piece.kind == .byte {
                guard fallsBackToBytes, let byte = ByteTokens.byte(of: piece.bytes) else {
                    throw LaminaError(
                        .malformed, "",
                        "piece \(id) is marked as a byte" + (fallsBackToBytes ? "" : ", but byte_fallback is off"),
                        found: quoted(String(decoding: piece.bytes, as: UTF8.self)))
                }
                bytes.insert(byte)
            }
        }
        guard unknown >= 0 else { throw LaminaError(.malformed, "", "no piece is marked as unknown") }
        guard !fallsBackToBytes || bytes.count == 256 else {
            throw LaminaError(.malformed, "", "byte_fallback is on, but \(256 - bytes.count) byte pieces are missing")
        }
    }

    /// The id of the piece that begins a text; `nil` if there is none.
    var begin: Int? { control(beginName) }
    /// The id of the piece that ends a text; `nil` if there is none.
    var end: Int? { control(endName) }

    private func control(_ name: [UInt8]) -> Int? {
        pieces.firstIndex { $0.kind == .control && $0.bytes == name }
    }
}
