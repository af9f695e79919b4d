// Package settings gives every program of Huker one way to be told something: a flag, an environment variable or a line of a file, in this
// order. They bear the same name: --data-dir, HUKER_DATA_DIR, and data-dir in the file.
//
// It owns that order and the refusal of names that mean nothing. It must not know what the settings are for.
package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Prefix of the environment's variables.
const Prefix = "HUKER"

// FileFlag names the file with settings; it cannot be set in the file itself.
const FileFlag = "config"

// Register adds --config to a program's flags.
func Register(fs *pflag.FlagSet) {
	fs.String(FileFlag, "", "YAML file with settings named as these flags, without the dashes before them; "+
		"each can be given in the environment too: "+Variable("data-dir")+" for --data-dir")
}

// Variable is the environment's name of a flag.
func Variable(flag string) string {
	return Prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ErrFile means that the file with settings cannot be read: nothing is known of what it says.
var ErrFile = errors.New("settings")

// Apply sets the flags that were not given from the environment, or else from the file that --config (or its variable) names. A setting in
// the file that is no flag is refused, as is a value that its flag does not take; what is good is set all the same, so that a program can say all that is
// wrong at once.
func Apply(fs *pflag.FlagSet) error {
	v := viper.New()
	v.SetEnvPrefix(Prefix)
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	path, err := fs.GetString(FileFlag)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if path == "" {
		path = os.Getenv(Variable(FileFlag))
	}
	var errs []error
	if path != "" {
		err := read(v, fs, path)
		if errors.Is(err, ErrFile) {
			return err
		}
		errs = append(errs, err)
	}
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !isSetting(f.Name) || !v.IsSet(f.Name) {
			return
		}
		if _, isMap := v.Get(f.Name).(map[string]any); isMap {
			errs = append(errs, fmt.Errorf("%s (from %s): write it in one line, as %s: name=value,name=value", f.Name, path, f.Name))
			return
		}
		value := v.GetString(f.Name)
		if list, ok := f.Value.(pflag.SliceValue); ok {
			if given, isText := v.Get(f.Name).(string); isText {
				value = given
			} else {
				if err := list.Replace(v.GetStringSlice(f.Name)); err != nil {
					errs = append(errs, fmt.Errorf("%s (from %s): %w", f.Name, source(v, f.Name, path), err))
				}
				f.Changed = true
				return
			}
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s (from %s): %w", f.Name, source(v, f.Name, path), err))
		}
	})
	return errors.Join(errs...)
}

// isSetting tells flags that say how a program is to work from those that ask it something.
func isSetting(flag string) bool { return flag != FileFlag && flag != "help" && flag != "version" }

// read takes the file in, and refuses what no flag bears the name of.
func read(v *viper.Viper, fs *pflag.FlagSet, path string) error {
	v.SetConfigFile(path)
	if ext := filepath.Ext(path); ext != ".yaml" && ext != ".yml" && ext != ".json" && ext != ".toml" {
		v.SetConfigType("yaml")
	}
	if err := v.ReadInConfig(); err != nil {
		return fmt.Errorf("%w: reading %s: %w", ErrFile, path, err)
	}
	var known, unknown []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && isSetting(f.Name) {
			known = append(known, f.Name)
		}
	})
	for _, name := range v.AllKeys() {
		// What lies below a name that is known is told when that is set.
		if top, _, _ := strings.Cut(name, "."); !slices.Contains(known, top) && !slices.Contains(unknown, top) {
			unknown = append(unknown, top)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("%s: no such setting: %s (there are: %s)", path, strings.Join(unknown, ", "), strings.Join(known, ", "))
	}
	return nil
}

func source(v *viper.Viper, name, path string) string {
	if _, ok := os.LookupEnv(Variable(name)); ok || !v.InConfig(name) {
		return Variable(name)
	}
	return path
}
