import TensorCore

/// Takes checked values out of a config.json; every refusal names the key, the value and what was expected.
struct ConfigReader {
    let object: JSONObject
    let file: String
    /// Prefix for keys of a nested object, e.g. `rope_scaling.`.
    var prefix = ""

    /// The value, with an explicit null meaning absent, as transformers writes it.
    func value(_ key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    func failure(_ key: String, expected: String) -> LaminaError {
        LaminaError(
            .malformed, file, "bad value for \"\(prefix)\(key)\"", expected: expected,
            found: object[key]?.summary ?? "nothing")
    }

    /// An integer in `range`; `absent` if the key is missing, an error without it.
    func integer(_ key: String, in range: ClosedRange<Int>, absent: Int? = nil) throws(LaminaError) -> Int {
        guard let value = value(key) else {
            guard let absent else { throw failure(key, expected: ConfigReader.text(range)) }
            return absent
        }
        guard let number = value.integer, range.contains(number) else {
            throw failure(key, expected: ConfigReader.text(range))
        }
        return number
    }

    private static func text(_ range: ClosedRange<Int>) -> String {
        "an integer in \(range.lowerBound)...\(range.upperBound)"
    }

    /// A finite number above 0.
    func positive(_ key: String, absent: Double? = nil) throws(LaminaError) -> Double {
        guard let value = value(key) else {
            guard let absent else { throw failure(key, expected: "a finite number above 0") }
            return absent
        }
        guard let number = value.double, number > 0 else { throw failure(key, expected: "a finite number above 0") }
        return number
    }

    /// A finite number above 0, or `nil` if the key is missing.
    func positiveIfPresent(_ key: String) throws(LaminaError) -> Double? {
        value(key) == nil ? nil : try positive(key)
    }

    /// A finite number above 0, or `nil` if the key is missing or 0, which some keys mean the same by.
    func positiveUnlessZero(_ key: String) throws(LaminaError) -> Double? {
        value(key)?.double == 0 ? nil : try positiveIfPresent(key)
    }

    /// A number above 0 that is one as f32 too.
    func positiveFloat(_ key: String, absent: Double? = nil) throws(LaminaError) -> Float {
        let number = Float(try positive(key, absent: absent))
        guard number.isFinite, number > 0 else { throw failure(key, expected: "a number that f32 can hold") }
        return number
    }

    /// A number above 0 that is one as f32 too, or `nil` if the key is missing.
    func positiveFloatIfPresent(_ key: String) throws(LaminaError) -> Float? {
        value(key) == nil ? nil : try positiveFloat(key)
    }

    func bool(_ key: String, absent: Bool) throws(LaminaError) -> Bool {
        guard let value = value(key) else { return absent }
        guard let flag = value.bool else { throw failure(key, expected: "true or false") }
        return flag
    }

    func string(_ key: String) throws(LaminaError) -> String? {
        guard let value = value(key) else { return nil }
        guard let text = value.string else { throw failure(key, expected: "a string") }
        return text
    }

    func object(_ key: String) throws(LaminaError) -> ConfigReader? {
        guard let value = value(key) else { return nil }
        guard let nested = value.object else { throw failure(key, expected: "an object") }
        return ConfigReader(object: nested, file: file, prefix: prefix + key + ".")
    }

    /// One token id or a list of them; none if the key is missing.
    func tokens(_ key: String, vocabulary: Int) throws(LaminaError) -> [Int] {
        guard let value = value(key) else { return [] }
        var tokens: [Int] = []
        for entry in value.array ?? [value] {
            guard let token = entry.integer, (0..<vocabulary).contains(token) else {
                throw failure(key, expected: "token ids in 0..<\(vocabulary)")
            }
            tokens.append(token)
        }
        return tokens
    }

    /// The blocks of weights that share a scale, where the checkpoint was published in FP8 with block scales as
    /// DeepSeek-V3 was (E4M3, blocks of 128 x 128); `nil` for weights without. Throws `.malformed` for weights that were
    /// quantized in any other way.
    func float8Blocks() throws(LaminaError) -> Float8Blocks? {
        guard let reader = try? object("quantization_config"), try reader.string("quant_method") == "fp8",
            reader.value("weight_block_size") != nil
        else {
            try refuseQuantized()
            return nil
        }
        let blocks = Float8Blocks(rows: 128, columns: 128)
        guard reader.value("weight_block_size")?.array?.map(\.integer) == [blocks.rows, blocks.columns] else {
            throw reader.failure("weight_block_size", expected: "[\(blocks.rows), \(blocks.columns)]")
        }
        for (key, expected) in [("fmt", "e4m3"), ("activation_scheme", "dynamic"), ("scale_fmt", "float")] {
            guard try reader.string(key) ?? expected == expected else {
                throw reader.failure(key, expected: "\"\(expected)\"")
            }
        }
        return blocks
    }

    /// Refuses checkpoints whose weights are quantized already.
    func refuseQuantized() throws(LaminaError) {
        guard let entry = value("quantization_config") else { return }
        let method = entry.object?["quant_method"]?.string
        throw LaminaError(
            .malformed, file, "the checkpoint is quantized already (\"quantization_config\")",
            expected: "BF16, FP16 or FP32 weights, or FP8 with block scales", found: method ?? entry.summary,
            hint: "convert the original checkpoint this one was made from")
    }
}
