// Reads a stream of instructions from standard input with the parser that the page uses, cut into
// pieces as a network would cut it, and writes for each a line of JSON: the same instruction as
// guacamole-common-js writes it, then its elements. The argument is the library's module.
const Guacamole = await import(process.argv[2])

const parser = new Guacamole.Parser()
let lines = []
parser.oninstruction = (opcode, parameters) => {
	const elements = [opcode, ...parameters]
	lines.push(JSON.stringify([Guacamole.Parser.toInstruction(elements), ...elements]))
	if (lines.length === 1000) {
		process.stdout.write(lines.join('\n') + '\n')
		lines = []
	}
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
let size = 1
for await (const chunk of process.stdin) {
	for (let at = 0; at < chunk.length; at += size) {
		size = (size * 31 + 7) % 4099 + 1
		parser.receive(decoder.decode(chunk.subarray(at, at + size), { stream: true }))
	}
}
if (lines.length) process.stdout.write(lines.join('\n') + '\n')
