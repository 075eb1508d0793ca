import TensorCore

extension Architecture {
    /// Baichuan and Baichuan 2 (arXiv 2309.10305): one matrix for query, key and value. The 7B models rotate, the 13B
    /// models have linear biases (ALiBi); Baichuan 2 normalises the rows of its head.
    public static let baichuan = Architecture(
        name: "baichuan", modelTypes: ["baichuan"], classNames: ["BaiChuanForCausalLM", "BaichuanForCausalLM"]
    ) { (reader) throws(LaminaError) in
        // Their code knows no other difference: 13B models give the length of the tokenizer only.
        let hasRope = reader.value("max_position_embeddings") != nil
        let form = try LlamaForm(
            reader, positions: hasRope ? nil : reader.positions("model_max_length", absent: 4096))
        var attention = form.attention()
        attention.projections = .concatenated(LlamaForm.attentionPrefix + "W_pack")
        if !hasRope {
            attention.rope = nil
            attention.form.slopes = Baichuan.slopes(heads: form.heads.count)
        }
        var model = form.model(
            attention: { [attention] _ in attention }, feedForward: { _ in form.feedForward() })
        model.headForm.normalizesRows = try Baichuan.isSecond(reader, hasRope: hasRope)
        return model
    }
}

private enum Baichuan {
    /// Slopes of linear biases (arXiv 2108.12409): a geometric sequence, for other numbers of heads than powers of two
    /// interleaved with that of twice as many.
    static func slopes(heads: Int) -> [Float] {
        var power = 1
        while 2 * power <= heads { power *= 2 }
        func slope(_ index: Int, of count: Int) -> Float {
            Float(Rope.power(2, -8 * Double(index + 1) / Double(count)))
        }
        return (0..<power).map { slope($0, of: power) }
            + (0..<(heads - power)).map { slope(2 * $0, of: 2 * power) }
    }

    /// Whether the head is Baichuan 2's. Nothing in config.json says so; what tells them apart is the vocabulary (64,000
    /// tokens, later 125,696), for the 7B model also the spelling of its class. Where the vocabulary is neither's, as in
    /// models cut down for tests, the first 13B model is taken to be in BF16, as it was published.
    static func isSecond(_ reader: ConfigReader, hasRope: Bool) throws(LaminaError) -> Bool {
        let vocabulary = try reader.vocabulary()
        if vocabulary >= 100_000 { return true }
        if vocabulary >= 64_000 { return false }
        if hasRope { return reader.value("architectures")?.array?.first?.string != "BaiChuanForCausalLM" }
        return try reader.string("torch_dtype") != "bfloat16"
    }
}
