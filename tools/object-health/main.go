// object-health says of objects what Argo CD and Flux would say of them.
//
// Each line on standard input is a JSON object {"script": LUA, "object": OBJECT}; each line on standard output is the
// answer, in the same order: {"argo": {"status": ..., "message": ...}, "kstatus": {"status": ..., "message": ...}}.
//
// Argo CD runs health scripts in gopher-lua with the base, package and table libraries and a global `obj`, for a second
// at most. Flux, and Helm's --wait, judge objects by kstatus.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Script string                    `json:"script"`
	Object unstructured.Unstructured `json:"object"`
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type answer struct {
	Argo    verdict `json:"argo"`
	Kstatus verdict `json:"kstatus"`
}

func main() {
	if err := answerAll(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answerAll(in io.Reader, out io.Writer) error {
	questions, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for number := 1; ; number++ {
		var asked question
		if err := questions.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("question %d: %w", number, err)
		}
		argo, err := runScript(asked.Script, asked.Object.Object)
		if err != nil {
			return fmt.Errorf("question %d: the script failed: %w", number, err)
		}
		result, err := status.Compute(&asked.Object)
		if err != nil {
			return fmt.Errorf("question %d: kstatus: %w", number, err)
		}
		flux := verdict{Status: result.Status.String(), Message: result.Message}
		if err := answers.Encode(answer{Argo: argo, Kstatus: flux}); err != nil {
			return err
		}
	}
}

func runScript(script string, object map[string]any) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return verdict{}, err
		}
	}
	patience, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(patience)
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return verdict{}, err
	}
	return toVerdict(state.Get(-1))
}

// toVerdict refuses what Argo CD would show as health Unknown.
func toVerdict(returned lua.LValue) (verdict, error) {
	table, ok := returned.(*lua.LTable)
	if !ok {
		return verdict{}, fmt.Errorf("it returned a %s, not a table", returned.Type())
	}
	health, isText := table.RawGetString("status").(lua.LString)
	message, hasMessage := table.RawGetString("message").(lua.LString)
	if !isText || !hasMessage {
		return verdict{}, errors.New("it returned a table without status or message")
	}
	switch health {
	case "Healthy", "Suspended", "Progressing", "Degraded":
		return verdict{Status: string(health), Message: string(message)}, nil
	}
	return verdict{}, fmt.Errorf("%q is not a health status", string(health))
}

// toLua leaves nulls out, as a Lua table does.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := state.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(toLua(state, item))
		}
		return list
	case map[string]any:
		fields := state.CreateTable(0, len(value))
		for name, field := range value {
			fields.RawSetString(name, toLua(state, field))
		}
		return fields
	default:
		return lua.LNil
	}
}
