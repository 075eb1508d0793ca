import CKernels

/// `ecq-tier`: whole multiples of one step a row, nothing clipped, the codes entropy-coded in tiers that decode at memory
/// speed. 2.5 to 6.5 bits a weight, by the step.
public struct EntropyCodedTiers: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 22 }
    public var name: String { "ecq-tier" }
    public var form: lamina_scheme { LAMINA_SCHEME_ROW8 }
    public var coding: ChunkRecord.Encoding { .ecqTier }
    public var hasFreeStep: Bool { true }
}

/// `ecq-huf`: the same codes Huffman-coded: about 1 % smaller, decoded at a quarter of the speed.
public struct EntropyCodedHuffman: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 23 }
    public var name: String { "ecq-huf" }
    public var form: lamina_scheme { LAMINA_SCHEME_ROW8 }
    public var coding: ChunkRecord.Encoding { .zstd }
    public var hasFreeStep: Bool { true }
}
