/// Columns of text, each as wide as its widest cell.
public struct TextTable {
    private var rows: [[String]]

    public init(_ titles: [String]) { rows = [titles] }

    /// A row of as many cells as there are titles.
    public mutating func add(_ cells: [String]) { rows.append(cells) }

    /// All rows, the first column to the left and the others to the right, each line ended.
    public var text: String {
        let widths = rows[0].indices.map { column in rows.reduce(0) { max($0, $1[column].count) } }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += column == 0 ? cell + padding : "  " + padding + cell
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}
