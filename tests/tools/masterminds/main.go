// Answers what Masterminds/semver says, so that the tests can compare: each line of standard input is a JSON object
// {"constraint": text, "versions": [text, ...]}; each line of standard output is {"ok": bool, "answers": "yn-..."} with
// one letter for each version: y satisfies, n does not, - is no version. A constraint that is none has ok false.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/Masterminds/semver/v3"
)

type question struct {
	Constraint string   `json:"constraint"`
	Versions   []string `json:"versions"`
}

type answer struct {
	Ok      bool   `json:"ok"`
	Answers string `json:"answers"`
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var q question
		if err := decoder.Decode(&q); err != nil {
			os.Stderr.WriteString("not a question: " + err.Error() + "\n")
			os.Exit(1)
		}
		constraint, err := semver.NewConstraint(q.Constraint)
		a := answer{Ok: err == nil}
		for _, text := range q.Versions {
			version, bad := semver.NewVersion(text)
			switch {
			case bad != nil:
				a.Answers += "-"
			case err == nil && constraint.Check(version):
				a.Answers += "y"
			default:
				a.Answers += "n"
			}
		}
		if err := out.Encode(a); err != nil {
			os.Exit(1)
		}
	}
}
