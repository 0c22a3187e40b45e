package platform

import (
	"fmt"

	coreinformers "k8s.io/client-go/informers/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
)

// entries reads what Secrets and ConfigMaps hold, for virtual servers with files.
func entries(core coreinformers.Interface) func(namespace string, from program.Entry) ([]byte, error) {
	secrets, configMaps := core.Secrets().Lister(), core.ConfigMaps().Lister()
	return func(namespace string, from program.Entry) ([]byte, error) {
		if from.Secret {
			s, err := secrets.Secrets(namespace).Get(from.Name)
			if err != nil {
				return nil, err
			}
			if data, ok := s.Data[from.Key]; ok {
				return data, nil
			}
			return nil, fmt.Errorf("secret %s/%s has no key %s", namespace, from.Name, from.Key)
		}
		m, err := configMaps.ConfigMaps(namespace).Get(from.Name)
		if err != nil {
			return nil, err
		}
		if text, ok := m.Data[from.Key]; ok {
			return []byte(text), nil
		}
		if data, ok := m.BinaryData[from.Key]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("config map %s/%s has no key %s", namespace, from.Name, from.Key)
	}
}
