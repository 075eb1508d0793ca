import CKernels

/// `int8-row`: one byte a weight and one step a row, the row's largest magnitude over 127. About 8.02 bits a weight.
public struct RowInt8: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 16 }
    public var name: String { "int8-row" }
    public var form: lamina_scheme { LAMINA_SCHEME_ROW8 }
}
