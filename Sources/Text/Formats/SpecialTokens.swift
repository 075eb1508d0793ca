import TensorCore

/// What is known of a rank file's tokenizer only by the name of its class.
struct RankFamily {
    /// Special tokens in the order of their ids, which follow the ranks.
    let specials: [String]
    /// Whether text is normalized to NFC.
    let normalizes: Bool
    /// Longest run of digits that is one piece.
    let digits: Int
    /// Special tokens put in front of a text.
    let prefix: [String]

    /// Throws `.malformed`, naming the classes that are known.
    init(_ config: TokenizerConfig) throws(LaminaError) {
        switch config.className {
        case "QWenTokenizer":
            specials =
                ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + (0..<205).map { "<|extra_\($0)|>" }
            normalizes = true
            digits = 1
            prefix = []
        case "ChatGLM4Tokenizer":
            specials = [
                "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
                "<|assistant|>", "<|observation|>",
            ]
            normalizes = false
            digits = 3
            prefix = ["[gMASK]", "<sop>"]
        default:
            throw LaminaError(
                .malformed, "",
                "a rank file for the tokenizer_class \(quoted(config.className ?? "")) is not supported",
                expected: "QWenTokenizer or ChatGLM4Tokenizer in tokenizer_config.json")
        }
    }
}

/// The added tokens of a tokenizer without tokenizer.json, and those put around a text.
struct SpecialTokens {
    private(set) var tokens: [AddedToken]
    private(set) var prefix: [Int] = []
    private(set) var suffix: [Int] = []

    /// Special tokens of the first ChatGLM generations, whose ids follow the pieces.
    private static let chatGLM = [
        "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
    ]

    init(_ file: SentencePieceFile, _ config: TokenizerConfig, _ vocabulary: Vocabulary) {
        tokens = config.addedTokens
        let isChatGLM = config.className == "ChatGLMTokenizer"
        if isChatGLM {
            for (offset, name) in SpecialTokens.chatGLM.enumerated() {
                // "sop" and "eop" are also parts of words.
                add(name, id: file.pieces.count + offset, singleWord: !name.contains("|") && !name.contains("["))
            }
        }
        for name in config.specialNames {
            if let id = vocabulary.id(of: name) { add(name, id: id) }
        }
        guard !isChatGLM else {
            prefix = ["[gMASK]", "sop"].compactMap(id)
            return
        }
        let begin = config.begin.flatMap { id($0) ?? vocabulary.id(of: $0) } ?? file.begin
        let end = config.end.flatMap { id($0) ?? vocabulary.id(of: $0) } ?? file.end
        if config.addsBegin ?? true, let begin { prefix = [begin] }
        if config.addsEnd ?? false, let end { suffix = [end] }
    }

    init(_ family: RankFamily, _ config: TokenizerConfig, _ vocabulary: Vocabulary) {
        tokens = config.addedTokens
        if tokens.isEmpty {
            for (offset, name) in family.specials.enumerated() { add(name, id: vocabulary.size + offset) }
        }
        prefix = family.prefix.compactMap(id)
    }

    private mutating func add(_ name: String, id: Int, singleWord: Bool = false) {
        guard self.id(name) == nil else { return }
        tokens.append(AddedToken(id: id, content: name, singleWord: singleWord, isSpecial: true))
    }

    private func id(_ name: String) -> Int? { tokens.first { $0.content == name }?.id }

    /// Adds those to a vocabulary whose ids it lacks; an id it has keeps its own name. Throws `.malformed`.
    func insert(into vocabulary: inout Vocabulary) throws(LaminaError) {
        for token in tokens where !vocabulary.contains(id: token.id) && vocabulary.id(of: token.content) == nil {
            try vocabulary.insert(token.content, id: token.id, where: "added token")
        }
    }
}
