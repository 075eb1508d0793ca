/// A dictionary in the order of insertion, with Python's equality of keys: 1, 1.0 and true are the same.
final class DictionaryValue {
    let keys: [TemplateValue]
    let values: [TemplateValue]
    let depth: Int
    /// Places of the keys; only made for dictionaries that are not small.
    private let places: [DictionaryKey: Int]
    private static let smallCount = 8

    /// Throws for keys that cannot be one, such as lists, and `.limit` if the nesting is too deep. Of equal keys the
    /// first stays, with the last value.
    init(_ members: [(key: TemplateValue, value: TemplateValue)]) throws(TemplateFailure) {
        var keys: [TemplateValue] = []
        var values: [TemplateValue] = []
        var places: [DictionaryKey: Int] = [:]
        for (key, value) in members {
            let hashable = try DictionaryKey(key)
            if let place = places[hashable] {
                values[place] = value
            } else {
                places[hashable] = keys.count
                keys.append(key)
                values.append(value)
            }
        }
        depth = max(try TemplateValue.depth(around: keys), try TemplateValue.depth(around: values))
        self.keys = keys
        self.values = values
        self.places = keys.count > DictionaryValue.smallCount ? places : [:]
    }

    var count: Int { keys.count }

    /// Throws for keys that no dictionary can have.
    func value(of key: TemplateValue) throws(TemplateFailure) -> TemplateValue? {
        if case .string(let text) = key { return value(of: text.scalars) }
        let hashable = try DictionaryKey(key)
        if count > DictionaryValue.smallCount { return places[hashable].map { values[$0] } }
        for (index, other) in keys.enumerated() where try DictionaryKey(other) == hashable { return values[index] }
        return nil
    }

    func value(of key: Scalars) -> TemplateValue? {
        if count > DictionaryValue.smallCount { return places[DictionaryKey(key)].map { values[$0] } }
        return keys.firstIndex { $0.scalars == key }.map { values[$0] }
    }

    /// The members in order.
    var members: [(key: TemplateValue, value: TemplateValue)] {
        zip(keys, values).map { (key: $0, value: $1) }
    }

    /// The member at `index` as a tuple.
    func item(_ index: Int) throws(TemplateFailure) -> TemplateValue {
        .tuple(try ListValue([keys[index], values[index]]))
    }
}

/// A key of a dictionary, hashed and compared as Python does.
struct DictionaryKey: Hashable {
    /// Most elements of a tuple, with those of tuples in it: each is hashed and compared every time.
    private static let maximumElements = 64

    private let value: TemplateValue

    init(_ text: Scalars) { value = .text(text) }

    /// Throws if the value cannot be a key.
    init(_ value: TemplateValue) throws(TemplateFailure) {
        switch value {
        case .list, .dictionary, .tuple:
            var count = 0
            try DictionaryKey.check(value, &count)
        default: break
        }
        self.value = value
    }

    private static func check(_ value: TemplateValue, _ count: inout Int) throws(TemplateFailure) {
        count += 1
        guard count <= maximumElements else {
            throw .limit("a tuple with more than \(maximumElements) elements is a key")
        }
        switch value {
        case .list, .dictionary: throw TemplateFailure("a \(value.typeName) cannot be a key of a dictionary")
        case .tuple(let tuple): for element in tuple.elements { try check(element, &count) }
        default: break
        }
    }

    private init(unchecked value: TemplateValue) { self.value = value }

    func hash(into hasher: inout Hasher) {
        switch value {
        case .bool(let flag): hasher.combine(flag ? 1 : 0)
        case .integer(let integer): hasher.combine(integer)
        case .float(let double):
            if let integer = Int(exactly: double) { hasher.combine(integer) } else { hasher.combine(double) }
        case .string(let text): hasher.combine(text.scalars)
        case .tuple(let tuple): for element in tuple.elements { DictionaryKey(unchecked: element).hash(into: &hasher) }
        default: if let identity = value.identity { hasher.combine(identity) }
        }
    }

    static func == (left: DictionaryKey, right: DictionaryKey) -> Bool {
        switch (left.value, right.value) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let left), .string(let right)): return left.scalars == right.scalars
        case (.tuple(let left), .tuple(let right)):
            return left.elements.count == right.elements.count
                && zip(left.elements, right.elements).allSatisfy {
                    DictionaryKey(unchecked: $0) == .init(unchecked: $1)
                }
        default: break
        }
        if let order = left.value.numericOrder(right.value) { return order == .equal }
        guard let identity = left.value.identity else { return false }
        return identity == right.value.identity
    }
}

extension TemplateValue {
    /// The object behind it, for values that are equal only to themselves.
    var identity: ObjectIdentifier? {
        switch self {
        case .list(let object), .tuple(let object): ObjectIdentifier(object)
        case .dictionary(let object): ObjectIdentifier(object)
        case .iterator(let object): ObjectIdentifier(object)
        case .namespace(let object): ObjectIdentifier(object)
        case .loop(let object): ObjectIdentifier(object)
        case .macro(let object): ObjectIdentifier(object)
        case .cycler(let object): ObjectIdentifier(object)
        case .joiner(let object): ObjectIdentifier(object)
        default: nil
        }
    }
}

/// What `keys()`, `values()` and `items()` return.
struct DictionaryView {
    enum Kind: String {
        case keys, values, items

        var typeName: String { "dict_" + rawValue }
    }

    let kind: Kind
    let dictionary: DictionaryValue

    func element(_ index: Int) throws(TemplateFailure) -> TemplateValue {
        switch kind {
        case .keys: dictionary.keys[index]
        case .values: dictionary.values[index]
        case .items: try dictionary.item(index)
        }
    }
}
